# `cpack -G DEB` in the build directory makes a Debian package of the program that was built there.
# Only what belongs to the package is a part of the component `tidemark`; nothing is built for it.
include(GNUInstallDirs)

set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

# The directory of the configuration is empty: a file that was put there could be taken for one.
install(DIRECTORY DESTINATION /etc/tidemark
  DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
  COMPONENT tidemark)
# Where Debian 12 looks for units that packages bring.
install(FILES deploy/systemd/tidemark.service DESTINATION /lib/systemd/system COMPONENT tidemark)
install(FILES
  README.md docs/operations.md docs/configuration.md docs/security.md docs/protocol.md
  docs/kubernetes.md docs/example/tidemark.yaml
  DESTINATION share/doc/tidemark COMPONENT tidemark)
install(FILES deploy/debian/copyright DESTINATION share/doc/tidemark COMPONENT tidemark)
install(FILES deploy/prometheus/tidemark.rules.yaml deploy/prometheus/scrape.yaml
  DESTINATION share/doc/tidemark/prometheus COMPONENT tidemark)
install(FILES deploy/grafana/tidemark.json
  DESTINATION share/doc/tidemark/grafana COMPONENT tidemark)

# Made while installing: completions by the program itself, pages and the changelog by gzip.
install(CODE "
  set(TM_PROGRAM \"$<TARGET_FILE:tidemark>\")
  set(TM_SOURCE \"${CMAKE_SOURCE_DIR}\")
  include(\"${CMAKE_SOURCE_DIR}/cmake/install_made.cmake\")"
  COMPONENT tidemark)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tidemark)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Tidemark <tidemark@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "backs up Ceph block volumes and buckets in a store at another site")
set(CPACK_PACKAGE_DESCRIPTION "An agent at each site takes points of RBD images and of buckets of an object
gateway, sends what changed, compressed and encrypted, to the store of another
site, and brings them back as they were at any of the points taken. Points can
be read without a restore, kept ready as standby images, and rehearsed.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL tidemark)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_NAME tidemark)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Beside the libraries: the user is made by adduser, schedules need the time zones, TLS the system's roots.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates, tzdata")
# Checks of drills, and what an operator has at hand.
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "ceph-common, e2fsprogs, libnbd-bin, qemu-utils, xfsprogs")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
  ${CMAKE_SOURCE_DIR}/deploy/debian/prerm
  ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
