# tm_module, tm_program, tm_test: what every folder's CMakeLists.txt is made of.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_library(tm_options INTERFACE)
target_compile_options(tm_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Woverloaded-virtual -Wimplicit-fallthrough -Wsuggest-override -Werror
  -fvisibility=hidden -fvisibility-inlines-hidden -fno-omit-frame-pointer
  -fstack-protector-strong)
# Release with checks and symbols: small enough for backtraces, -g1 keeps the build lean.
target_compile_options(tm_options INTERFACE $<$<CONFIG:Release>:-O2 -g1>)
# librbd and librados export their own copy of Boost 1.74: nothing of ours may be bound to it.
target_compile_definitions(tm_options INTERFACE BOOST_ASIO_DISABLE_VISIBILITY BOOST_ASIO_NO_DEPRECATED)
target_link_options(tm_options INTERFACE -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/hide.map)
target_include_directories(tm_options INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(tm_options INTERFACE Threads::Threads)
find_program(MOLD mold)
if(MOLD)
  target_link_options(tm_options INTERFACE -fuse-ld=mold)
endif()

if(TIDEMARK_SANITIZE STREQUAL "address")
  target_compile_options(tm_options INTERFACE -fsanitize=address,undefined
    -fno-sanitize-recover=undefined -D_GLIBCXX_ASSERTIONS -Og)
  target_link_options(tm_options INTERFACE -fsanitize=address,undefined)
elseif(TIDEMARK_SANITIZE STREQUAL "thread")
  target_compile_options(tm_options INTERFACE -fsanitize=thread -Wno-tsan -O1)
  target_link_options(tm_options INTERFACE -fsanitize=thread)
elseif(NOT TIDEMARK_SANITIZE STREQUAL "")
  message(FATAL_ERROR "TIDEMARK_SANITIZE is 'address', 'thread' or empty")
else()
  target_compile_definitions(tm_options INTERFACE $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()

# tm_module(NAME store SRCS a.cc ... DEPS tidemark::base ... PRIVATE_DEPS RocksDB::rocksdb-shared)
function(tm_module)
  cmake_parse_arguments(M "" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(tm_${M_NAME} STATIC ${M_SRCS})
  add_library(tidemark::${M_NAME} ALIAS tm_${M_NAME})
  target_link_libraries(tm_${M_NAME} PUBLIC tm_options ${M_DEPS} PRIVATE ${M_PRIVATE_DEPS})
endfunction()

# tm_test(NAME store_test SRCS a_test.cc ... DEPS tidemark::store LABELS unit TIMEOUT 60)
# One ctest entry per program. Labels: `unit` needs nothing but the machine; `thread`, beside it, is
# run under the thread sanitizer too, without the tests that THREADLESS names (a:b, in gtest's way).
function(tm_test)
  cmake_parse_arguments(T "" "NAME;TIMEOUT;THREADLESS;LOCK" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${T_NAME} ${T_SRCS})
  target_link_libraries(${T_NAME} PRIVATE tm_options ${T_DEPS} tm_source_path GTest::gmock GTest::gtest GTest::gtest_main)
  if(TIDEMARK_SANITIZE STREQUAL "address")
    # At -Og g++ 12 takes a std::stop_source on the stack for one that is not initialized.
    target_compile_options(${T_NAME} PRIVATE -Wno-maybe-uninitialized)
  endif()
  add_test(NAME ${T_NAME} COMMAND ${T_NAME})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(TIDEMARK_SANITIZE)
    math(EXPR T_TIMEOUT "4 * ${T_TIMEOUT}")
  endif()
  set_tests_properties(${T_NAME} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT})
  if(T_LOCK)
    set_tests_properties(${T_NAME} PROPERTIES RESOURCE_LOCK ${T_LOCK})
  endif()
  if(TIDEMARK_SANITIZE STREQUAL "thread")
    set_property(TEST ${T_NAME} APPEND PROPERTY ENVIRONMENT
      "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/thread.supp" "GTEST_FILTER=-${T_THREADLESS}")
  endif()
  foreach(label ${T_LABELS})
    set_property(GLOBAL APPEND PROPERTY TM_TESTS_${label} ${T_NAME})
  endforeach()
endfunction()

# tm_cluster_test(NAME changes_test SRCS ... DEPS ... TIMEOUT 300 LOCK images)
# As tm_test, for programs that need real Ceph clusters. ctest boots two before the first of them and
# removes them after the last (tests/cluster/); TM_TEST_CEPH_CONF and TM_TEST_CEPH_CONF_B are the
# paths of their ceph.conf. LOCK names what of the clusters it wants for itself: `images` or `buckets`
# of both; programs that make pools of their own need none.
function(tm_cluster_test)
  cmake_parse_arguments(T "" "NAME" "" ${ARGN})
  tm_test(${ARGN} LABELS cluster)
  set_tests_properties(${T_NAME} PROPERTIES
    FIXTURES_REQUIRED clusters
    ENVIRONMENT "TM_TEST_CEPH_CONF=${CMAKE_BINARY_DIR}/clusters/a/ceph.conf;TM_TEST_CEPH_CONF_B=${CMAKE_BINARY_DIR}/clusters/b/ceph.conf")
endfunction()
