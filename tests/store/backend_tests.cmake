# Tests of store/backend. Included by CMakeLists.txt of this folder.
set(B ${CMAKE_CURRENT_LIST_DIR})

add_executable(backend_tool ${B}/backend_tool.cc)
target_link_libraries(backend_tool PRIVATE tm_options tidemark::store)

add_library(tm_backend_support STATIC ${B}/backend_support.cc)
target_link_libraries(tm_backend_support PUBLIC tm_options tidemark::store GTest::gtest)
target_compile_definitions(tm_backend_support
  PRIVATE TM_BACKEND_TOOL="$<TARGET_FILE:backend_tool>")
add_dependencies(tm_backend_support backend_tool)

# TEST_P of the suite registers itself at start-up, and an object library is linked whole.
add_library(tm_backend_conformance OBJECT
  ${B}/backend_conformance.cc ${B}/backend_conformance_concurrency.cc)
target_link_libraries(tm_backend_conformance PUBLIC tm_backend_support)

tm_test(NAME backend_test SRCS backend_test.cc
  DEPS tm_backend_conformance tidemark::fakes
  LABELS unit thread TIMEOUT 300
  THREADLESS *TakesBlobsOf64MiB*:*RefusesBlobsAboveItsLimit*:*ListingIsComplete*)

tm_test(NAME backend_file_test SRCS backend_file_test.cc
  DEPS tm_backend_support ${RADOS_LIBRARY}
  LABELS unit TIMEOUT 120)
tm_test(NAME backend_faulty_test SRCS backend_faulty_test.cc
  DEPS tm_backend_conformance tidemark::fakes
  LABELS unit TIMEOUT 120)
# Linked ahead of the C library, the shim stands in the way of this program's own system calls.
tm_test(NAME backend_fault_test SRCS backend_fault_test.cc
  DEPS tm_io_fault_shim tm_backend_support
  LABELS unit TIMEOUT 300)

# Needs root and loop mounts. TM_CUTS sets the number of power cuts.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
add_test(NAME backend_power_cut_test
  COMMAND Python3::Interpreter ${B}/power_cut_test.py
    $<TARGET_FILE:backend_tool> $<TARGET_FILE:tm_io_fault_shim>)
set_tests_properties(backend_power_cut_test PROPERTIES
  LABELS system TIMEOUT 600 SKIP_RETURN_CODE 77)

# Against the cluster that TM_TEST_CEPH_CONF_B names.
tm_cluster_test(NAME backend_rados_test SRCS backend_rados_test.cc
  DEPS tm_backend_conformance ${RADOS_LIBRARY}
  TIMEOUT 600)
