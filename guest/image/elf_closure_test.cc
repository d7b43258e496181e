#include "guest/image/elf_closure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "guest/image/test_files.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::span<const std::byte> asBytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// "GUEST=HOST" for contents, "GUEST>TARGET" for links.
std::vector<std::string> filesOf(const ElfClosure& closure) {
  std::vector<std::string> files;
  for (const ClosureFile& file : closure.files()) {
    files.push_back(file.guestPath + (file.linkTarget.empty() ? "=" + file.hostPath : ">" + file.linkTarget));
  }
  return files;
}

Error errorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(ExitCode::pass, "none", "");
}

TEST(ElfNeeds, readsTheDynamicSection) {
  const TestElf elf{
      .needed = {"liba.so", "libb.so"}, .runpath = "$ORIGIN/lib:/opt/x", .interpreter = "/lib64/ld.so"};
  const std::string file = elf.build();
  ASSERT_TRUE(isElfFile(asBytes(file)));
  ASSERT_TRUE(isGuestArchitecture(asBytes(file)));
  const ElfNeeds needs = readElfNeeds(asBytes(file));
  EXPECT_THAT(needs.needed, ElementsAre("liba.so", "libb.so"));
  EXPECT_THAT(needs.runpath, ElementsAre("$ORIGIN/lib", "/opt/x"));
  EXPECT_THAT(needs.rpath, IsEmpty());
  EXPECT_EQ(needs.interpreter, "/lib64/ld.so");
}

TEST(ElfNeeds, survivesEveryTruncationAndEveryBadByte) {
  const std::string file =
      TestElf{.needed = {"liba.so"}, .rpath = "/x", .interpreter = "/lib64/ld.so"}.build();
  const auto read = [](const std::string& bytes) {
    if (!isElfFile(asBytes(bytes)) || !isGuestArchitecture(asBytes(bytes))) return;
    try {
      readElfNeeds(asBytes(bytes));
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "binary-invalid");
    }
  };
  for (size_t size = 0; size < file.size(); size++) read(file.substr(0, size));
  for (size_t at = 0; at < file.size(); at++) {
    for (const char byte : {'\x00', '\x01', '\x7f', '\xff'}) {
      std::string bad = file;
      bad[at] = byte;
      read(bad);
    }
  }
}

TEST(ElfClosure, findsByRunPathRelativeToTheUser) {
  const TestTree tree;
  const std::string program =
      tree.write("bin/program", TestElf{.needed = {"liba.so.1"}, .runpath = "$ORIGIN/../lib"}.build());
  const std::string real =
      tree.write("lib/liba.so.1.2", TestElf{.needed = {"libb.so"}, .runpath = "${ORIGIN}"}.build());
  std::filesystem::create_symlink("liba.so.1.2", tree.path("lib/liba.so.1"));
  const std::string b = tree.write("lib/libb.so", TestElf{}.build());
  ElfClosure closure(LibraryPaths{});
  closure.add(program, "/ktstr/bin/program");
  EXPECT_THAT(filesOf(closure), ElementsAre("/ktstr/lib/liba.so.1=" + real, "/ktstr/lib/libb.so=" + b));
}

TEST(ElfClosure, takesEachLibraryOnceWithLinksForItsOtherPaths) {
  const TestTree tree;
  const std::string one = tree.write("one", TestElf{.needed = {"liba.so.1"}}.build());
  const std::string two = tree.write("two", TestElf{.needed = {"liba.so"}}.build());
  const std::string real = tree.write("lib/liba.so.1.2", TestElf{}.build());
  std::filesystem::create_symlink("liba.so.1.2", tree.path("lib/liba.so.1"));
  std::filesystem::create_symlink("liba.so.1", tree.path("lib/liba.so"));
  ElfClosure closure(LibraryPaths{.configured = {}, .defaults = {tree.path("lib")}});
  closure.add(one, "/one");
  closure.add(two, "/two");
  EXPECT_THAT(filesOf(closure), ElementsAre(real + "=" + real, tree.path("lib/liba.so.1") + ">" + real,
                                            tree.path("lib/liba.so") + ">" + real));
}

TEST(ElfClosure, rpathOfLoadersCountsUnlessThereIsARunPath) {
  const TestTree tree;
  const std::string program =
      tree.write("program", TestElf{.needed = {"liba.so", "libr.so"}, .rpath = tree.path("lib")}.build());
  tree.write("lib/liba.so", TestElf{.needed = {"libb.so"}}.build());
  tree.write("lib/libb.so", TestElf{}.build());
  tree.write("lib/libr.so", TestElf{.needed = {"libb.so"}, .runpath = "/nowhere"}.build());
  ElfClosure closure(LibraryPaths{});
  closure.add(program, "/program");
  EXPECT_EQ(closure.files().size(), 3u);

  const std::string strict =
      tree.write("strict", TestElf{.needed = {"libr.so"}, .rpath = tree.path("lib")}.build());
  const Error error = errorOf([&] { ElfClosure(LibraryPaths{}).add(strict, "/strict"); });
  EXPECT_EQ(error.name(), "library-missing");
  EXPECT_THAT(error.message(), HasSubstr("libb.so, needed by " + tree.path("lib/libr.so") +
                                         ", which is needed by " + strict + ", was not found"));
  EXPECT_THAT(error.message(), HasSubstr("searched /nowhere (RUNPATH)"));
}

TEST(ElfClosure, configuredDirectoriesGoBesideTheInterpreter) {
  const TestTree tree;
  const std::string linker = tree.write("system/ld.so", TestElf{}.build());
  const std::string a = tree.write("extra/liba.so", TestElf{}.build());
  const std::string program =
      tree.write("program", TestElf{.needed = {"liba.so"}, .interpreter = linker}.build());
  ElfClosure closure(LibraryPaths{.configured = {tree.path("extra")}, .defaults = {}});
  closure.add(program, "/program");
  EXPECT_THAT(filesOf(closure), ElementsAre(linker + "=" + linker, tree.path("system/liba.so") + "=" + a));
}

TEST(ElfClosure, skipsOtherArchitecturesAndRefusesThemAsPrograms) {
  const TestTree tree;
  tree.write("arm/liba.so", TestElf{.machine = EM_AARCH64}.build());
  const std::string right = tree.write("x86/liba.so", TestElf{}.build());
  const std::string program = tree.write("program", TestElf{.needed = {"liba.so"}}.build());
  ElfClosure closure(LibraryPaths{.configured = {}, .defaults = {tree.path("arm"), tree.path("x86")}});
  closure.add(program, "/program");
  EXPECT_THAT(filesOf(closure), ElementsAre(right + "=" + right));

  const Error error = errorOf([&] { ElfClosure(LibraryPaths{}).add(tree.path("arm/liba.so"), "/liba.so"); });
  EXPECT_EQ(error.name(), "binary-wrong-architecture");
}

TEST(ElfClosure, endsWithLibrariesThatNeedEachOther) {
  const TestTree tree;
  tree.write("liba.so", TestElf{.needed = {"libb.so"}}.build());
  tree.write("libb.so", TestElf{.needed = {"liba.so"}}.build());
  const std::string program = tree.write("program", TestElf{.needed = {"liba.so"}}.build());
  ElfClosure closure(LibraryPaths{.configured = {}, .defaults = {tree.path(".")}});
  closure.add(program, "/program");
  EXPECT_EQ(closure.files().size(), 2u);
}

TEST(ElfClosure, refusesTwoLibrariesInOnePlace) {
  const TestTree tree;
  const std::string elf = TestElf{.needed = {"liba.so"}, .runpath = "$ORIGIN"}.build();
  const std::string one = tree.write("1/program", elf), two = tree.write("2/program", elf);
  tree.write("1/liba.so", TestElf{}.build());
  tree.write("2/liba.so", TestElf{}.build());
  ElfClosure closure(LibraryPaths{});
  closure.add(one, "/bin/one");
  EXPECT_EQ(errorOf([&] { closure.add(two, "/bin/two"); }).name(), "library-conflict");
}

TEST(ElfClosure, missingInterpreterIsNamed) {
  const TestTree tree;
  const std::string program = tree.write("program", TestElf{.interpreter = "/no/ld.so"}.build());
  const Error error = errorOf([&] { ElfClosure(LibraryPaths{}).add(program, "/program"); });
  EXPECT_EQ(error.name(), "library-missing");
  EXPECT_THAT(error.message(), HasSubstr("/no/ld.so"));
}

TEST(ElfClosure, scriptsNeedNothing) {
  const TestTree tree;
  ElfClosure closure;
  closure.add(tree.write("script", "#!/bin/sh\n"), "/script");
  closure.add(tree.write("empty", ""), "/empty");
  EXPECT_THAT(closure.files(), IsEmpty());
}

TEST(ElfClosure, realShell) {
  if (!std::filesystem::exists("/bin/bash")) GTEST_SKIP() << "no /bin/bash on this machine";
  ElfClosure closure;
  closure.add("/bin/bash", "/bin/bash");
  std::vector<std::string> guestPaths;
  for (const ClosureFile& file : closure.files()) {
    guestPaths.push_back(file.guestPath);
    if (file.linkTarget.empty()) {
      EXPECT_TRUE(std::filesystem::is_regular_file(file.hostPath));
      EXPECT_EQ(std::filesystem::canonical(file.hostPath), file.hostPath);
    }
  }
  EXPECT_THAT(guestPaths, Contains("/lib64/ld-linux-x86-64.so.2"));
  EXPECT_THAT(guestPaths, Contains(testing::EndsWith("/libc.so.6")));
}

TEST(LibraryPaths, followsIncludes) {
  const TestTree tree;
  tree.write("conf.d/a.conf", "# comment\n/opt/a  # and more\n");
  tree.write("conf.d/b.conf", "  /opt/b\t\n\nrelative\nhwcap 0 nosegneg\n");
  const std::string conf =
      tree.write("ld.so.conf", "include conf.d/*.conf\n/usr/local/lib\ninclude /no/such\n");
  EXPECT_THAT(readLdSoConf(conf), ElementsAre("/opt/a", "/opt/b", "/usr/local/lib"));
  const std::string loop = tree.write("loop.conf", "include loop.conf\n/once\n");
  EXPECT_EQ(readLdSoConf(loop).size(), 9u);  // bounded
  EXPECT_THAT(readLdSoConf("/no/such"), IsEmpty());
}

TEST(LibraryPaths, expandsTokens) {
  EXPECT_EQ(expandTokens("$ORIGIN/../lib", "/opt/bin"), "/opt/bin/../lib");
  EXPECT_EQ(expandTokens("${ORIGIN}/x", "/o"), "/o/x");
  EXPECT_EQ(expandTokens("/lib/$PLATFORM", "/o"), "/lib/x86_64");
  EXPECT_EQ(expandTokens("/lib/$WHAT", "/o"), "");
}

}  // namespace
}  // namespace ktstr
