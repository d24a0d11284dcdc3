"""The checks of tidy.py and symbols.py, held against small texts: each must find and must spare."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import symbols  # noqa: E402
import tidy  # noqa: E402


def texts(findings):
    return [finding.text for finding in findings]


def lines(findings):
    return [finding.line for finding in findings]


def body(count):
    return "".join(f"  call({i});\n" for i in range(count))


class Layers(unittest.TestCase):
    def check(self, path, text):
        return list(tidy.check_layers(path, text))

    def test_a_folder_includes_itself_and_those_before_it(self):
        for included in ("base/bytes.h", "store/pack.h", "transport/http.h"):
            self.assertEqual(self.check("store/x.cc", f'#include "{included}"\n'), [])
        self.assertEqual(lines(self.check("store/x.cc", 'int a;\n#include "catalog/c.h"\n')), [2])
        self.assertEqual(len(self.check("base/x.h", '#include "config/c.h"\n')), 1)
        self.assertEqual(len(self.check("config/x.h", '  #  include "agent/cli/c.h"\n')), 1)

    def test_tests_and_benchmarks_include_everything(self):
        for path in ("tests/base/x.cc", "bench/x.cc"):
            self.assertEqual(self.check(path, '#include "agent/a.h"\n#include "tests/t.h"\n'), [])

    def test_nothing_else_includes_tests(self):
        self.assertEqual(len(self.check("agent/x.cc", '#include "tests/fakes/f.h"\n')), 1)
        self.assertEqual(len(self.check("agent/x.cc", '#include "bench/b.h"\n')), 1)

    def test_our_headers_are_named_from_the_top(self):
        self.assertEqual(len(self.check("store/x.cc", '#include "pack.h"\n')), 1)
        self.assertEqual(len(self.check("store/x.cc", '#include "../base/bytes.h"\n')), 1)

    def test_a_test_may_name_its_neighbour(self):
        self.assertEqual(self.check("tests/store/x_test.cc", '#include "support.h"\n'), [])

    def test_system_headers_and_other_files_are_spared(self):
        self.assertEqual(self.check("base/x.cc", "#include <store/x.h>\n#include <vector>\n"), [])
        self.assertEqual(self.check("base/README.md", '#include "agent/a.h"\n'), [])


class ThirdParty(unittest.TestCase):
    def check(self, path, header):
        return list(tidy.check_third_party(path, f"#include <{header}>\n"))

    def test_each_has_its_place(self):
        places = {
            "boost/asio.hpp": ("transport/http.cc", "store/x.cc"),
            "rbd/librbd.h": ("snapshot/rbd/image.cc", "store/backend/rados.cc"),
            "rados/librados.h": ("store/backend/rados.cc", "snapshot/x.cc"),
            "rocksdb/db.h": ("catalog/internal/db.cc", "store/x.cc"),
            "yaml-cpp/yaml.h": ("config/document.cc", "agent/cli/x.cc"),
            "CLI/CLI.hpp": ("agent/cli/main.cc", "agent/backup/x.cc"),
            "zstd.h": ("store/pack.cc", "transport/x.cc"),
            "openssl/ssl.h": ("transport/tls.cc", "store/x.cc"),
        }
        for header, (place, elsewhere) in places.items():
            self.assertEqual(self.check(place, header), [], header)
            self.assertEqual(len(self.check(elsewhere, header)), 1, header)
            self.assertEqual(self.check("tests/store/x_test.cc", header), [], header)

    def test_others_are_free(self):
        for header in ("fmt/core.h", "vector", "zstdlike.h", "mylib/boost/x.h"):
            self.assertEqual(self.check("agent/x.cc", header), [], header)

    def test_quotes_do_not_hide_them(self):
        found = tidy.check_third_party("agent/x.cc", '#include "boost/asio.hpp"\n')
        self.assertEqual(len(list(found)), 1)


class BannedCalls(unittest.TestCase):
    def check(self, path, text):
        return list(tidy.check_banned_calls(path, text))

    def test_clock_sleep_and_chance(self):
        for call in ("std::chrono::system_clock::now()", "system_clock :: now()",
                     "std::this_thread::sleep_for(x)", "this_thread::sleep_until(x)",
                     "std::random_device{}()"):
            self.assertEqual(lines(self.check("agent/x.cc", f"int a;\nauto t = {call};\n")), [2], call)
            self.assertEqual(self.check("base/x.cc", call), [], call)
            self.assertEqual(self.check("tests/x.cc", call), [], call)

    def test_our_own_and_comments_are_spared(self):
        text = ('sleep_for(stop, x);\n// never std::this_thread::sleep_for\n'
                '/* random_device\n random_device */ auto s = "system_clock::now";\n'
                'std::this_thread::yield();\nsystem_clock::time_point t;\n')
        self.assertEqual(self.check("agent/x.cc", text), [])


class Columns(unittest.TestCase):
    def test_the_limit_is_inclusive_and_counts_characters(self):
        text = "x" * 100 + "\n" + "ü" * 100 + "\n" + "x" * 101 + "\n"
        self.assertEqual(lines(tidy.check_columns("a/x.cc", text)), [3])
        self.assertEqual(list(tidy.check_columns("a/x.md", text)), [])


class Functions(unittest.TestCase):
    def spans(self, text):
        return list(tidy.functions(text))

    def test_finds_functions_methods_and_constructors(self):
        text = ("namespace a {\n"                                 # 1
                "int f(int x) {\n  return x;\n}\n"                # 2-4
                "class C {\n public:\n"                           # 5-6
                "  explicit C(int a)\n      : a_(a), b_(1) {\n    go();\n  }\n"  # 7-10
                "  int g() const noexcept { return 1; }\n"        # 11
                "};\n"
                "template <class T, class = std::enable_if_t<true>>\n"  # 13
                "T h(std::function<void()> f)\n{\n  f();\n}\n"    # 14-17
                "}  // namespace a\n")
        self.assertEqual(self.spans(text), [(2, 4), (7, 10), (11, 11), (13, 17)])

    def test_what_lies_within_belongs_to_the_function(self):
        text = "void f() {\n  if (a) {\n    g([&] {\n      h();\n    });\n  }\n}\n"
        self.assertEqual(self.spans(text), [(1, 7)])

    def test_types_tables_and_namespaces_are_no_functions(self):
        text = ("struct S {\n  int a = 1;\n};\nenum class E { a, b };\n"
                "constexpr int kTable[] = {\n  1,\n};\nextern \"C\" {\n}\n"
                "template <class T>\nclass D : public B<T> {\n};\n")
        self.assertEqual(self.spans(text), [])

    def test_braces_in_strings_comments_and_macros_do_not_count(self):
        text = ('void f() {\n  a("{{{", \'{\', R"(}}} ")");  // {\n  /* } */\n}\n'
                "#define M(x) \\\n  do { \\\n  } while (x)\n"
                "void g() {\n  auto n = 1'000'000;\n}\n")
        self.assertEqual(self.spans(text), [(1, 4), (8, 10)])

    def test_the_limit_is_inclusive(self):
        at_limit = "void f() {\n" + body(68) + "}\n"
        above = "int a;\nvoid f(int a,\n       int b) {\n" + body(68) + "}\n"
        self.assertEqual(list(tidy.check_function_length("a/x.cc", at_limit)), [])
        self.assertEqual(lines(tidy.check_function_length("a/x.cc", above)), [2])

    def test_a_test_body_is_a_function(self):
        text = "TEST(A, B) {\n" + body(70) + "}\n"
        self.assertEqual(lines(tidy.check_function_length("tests/x_test.cc", text)), [1])


class Text(unittest.TestCase):
    def test_leftovers(self):
        for word in ("TO" + "DO", "FIX" + "ME", "X" + "XX"):
            self.assertEqual(lines(tidy.check_leftovers("a.md", f"a\n# {word}: later\n")), [2])
        for spared in ("/tmp/x-XXXXXX", "to do", "todos", "AXXXB"):
            self.assertEqual(list(tidy.check_leftovers("a.md", spared)), [], spared)

    def test_machine_paths(self):
        for path in ("/wo" + "rk/main", '"/wo' + 'rk/x"', "cd /tmp/bash" + "_jobs.0/x"):
            self.assertEqual(len(list(tidy.check_machine_paths("a", path))), 1, path)
        for spared in ("a/work/b", "https://x.org/work/y", "/workspace/", "/home/work", "./work/x"):
            self.assertEqual(list(tidy.check_machine_paths("a", spared)), [], spared)

    def test_trailing_whitespace(self):
        self.assertEqual(lines(tidy.check_whitespace("a.md", "a\nb \nc\t\nd\r\n\n")), [2, 3, 4])
        self.assertEqual(list(tidy.check_whitespace("tests/golden/a", "a \n")), [])

    def test_pragma_once(self):
        self.assertEqual(len(list(tidy.check_pragma_once("a/x.h", "int a;\n"))), 1)
        self.assertEqual(len(list(tidy.check_pragma_once("a/x.h", "// #pragma once\n"))), 1)
        self.assertEqual(list(tidy.check_pragma_once("a/x.h", "// x\n#pragma once\n")), [])
        self.assertEqual(list(tidy.check_pragma_once("a/x.cc", "int a;\n")), [])


class Trees(unittest.TestCase):
    def test_every_top_folder_has_a_readme(self):
        files = {"CMakeLists.txt": "", "base/a.h": "", "store/README.md": "", "store/b/c.h": "",
                 ".github/x": "", "cmake/x": "", "docs/x.md": ""}
        self.assertEqual([f.path for f in tidy.check_readmes(files)], ["base"])

    def test_every_test_is_named(self):
        files = {
            "tests/CMakeLists.txt": "below/deep_test.cc",
            "tests/a/CMakeLists.txt": "SRCS one_test.cc\n  two_test.cc)",
            "tests/a/one_test.cc": "", "tests/a/two_test.cc": "", "tests/a/o_test.cc": "",
            "tests/a/one_test.cc.h": "", "tests/below/deep_test.cc": "", "tests/b/one_test.cc": "",
        }
        self.assertEqual([f.path for f in tidy.check_tests_are_built(files)],
                         ["tests/a/o_test.cc", "tests/b/one_test.cc"])

    def test_all_checks_run_on_a_tree(self):
        files = {"base/x.h": "int a; \n", "base/README.md": "x\n"}
        self.assertEqual(sorted(texts(tidy.check(files))),
                         ["#pragma once is missing", "white space at the end of the line"])

    def test_a_tree_without_git_is_read_too(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "build-x"))
            os.makedirs(os.path.join(root, "base"))
            for name in ("CMakeLists.txt", "base/a.h", "build-x/b.h"):
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write("x\n")
            with open(os.path.join(root, "base/image"), "wb") as file:
                file.write(b"\0\1")
            self.assertEqual(sorted(tidy.read_tree(root)), ["CMakeLists.txt", "base/a.h"])


class Symbols(unittest.TestCase):
    def test_finds_the_word_in_names_only(self):
        listing = ("0000 T main\n0000 u _ZN5boost4asio6detail10call_stackE\n"
                   "0000 V _ZTIN5boost6system12error_categoryE\n\n0000 B _edata\n")
        self.assertEqual(symbols.exported(listing, "boost"),
                         ["_ZN5boost4asio6detail10call_stackE",
                          "_ZTIN5boost6system12error_categoryE"])
        self.assertEqual(symbols.exported("0000 T main\n", "boost"), [])


if __name__ == "__main__":
    unittest.main()
