#include "kbuild/own_sources.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kbuild/test_archive.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::kbuild {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OwnSourcesRead : public ::testing::Test {
 protected:
  void write(const std::string& file, const std::string& content = "") {
    writeAll(openFile(directory_ / file, O_CREAT | O_WRONLY | O_TRUNC, 0644).get(), content);
  }
  OwnSources read() const { return readOwnSources({directory_ / "."}); }
  Error failure(const std::vector<std::string>& directories) const {
    try {
      readOwnSources(directories);
    } catch (const Error& error) {
      return error;
    }
    return Error(ExitCode::pass, "nothing-thrown", "");
  }
  Error failure() const { return failure({directory_ / "."}); }

  TestDirectory directory_;
};

TEST_F(OwnSourcesRead, TakeSchedulersAndHeadersAndNothingElse) {
  for (const char* file : {"scx_b.c", "scx_b.bpf.c", "scx_a.c", "scx_a.bpf.c", "lib-x.h", "Makefile",
                           "tool.c", "README.md", "scx_a.o"}) {
    write(file, file);
  }
  directory_.make("below.h");
  const OwnSources sources = read();
  EXPECT_THAT(sources.schedulers, ElementsAre("scx_a", "scx_b"));
  std::vector<std::string> names;
  for (const auto& file : sources.files) {
    names.push_back(file.name);
    EXPECT_EQ(file.content, file.name);
  }
  EXPECT_THAT(names, ElementsAre("lib-x.h", "scx_a.bpf.c", "scx_a.c", "scx_b.bpf.c", "scx_b.c"));
}

TEST_F(OwnSourcesRead, DigestChangesWithEveryNameAndContent) {
  write("scx_a.c");
  write("scx_a.bpf.c");
  const std::string first = read().digest;
  EXPECT_EQ(read().digest, first);
  write("scx_a.bpf.c", "int x;");
  const std::string second = read().digest;
  EXPECT_NE(second, first);
  write("a.h");
  EXPECT_NE(read().digest, second);
}

TEST_F(OwnSourcesRead, NameWhatIsMissing) {
  EXPECT_EQ(failure({directory_ / "nowhere"}).name(), "scheduler-source-missing");
  write("a.h");
  EXPECT_THAT(failure().message(), HasSubstr("no scheduler in "));
  write("scx_a.c");
  EXPECT_EQ(failure().name(), "scheduler-source-missing");
  EXPECT_EQ(failure().code(), ExitCode::usage);
  EXPECT_THAT(failure().message(), HasSubstr("scx_a.c has no scx_a.bpf.c"));
  write("scx_a.bpf.c");
  write("scx_b.bpf.c");
  EXPECT_THAT(failure().message(), HasSubstr("scx_b.bpf.c has no scx_b.c"));
}

TEST_F(OwnSourcesRead, RefuseNamesThatMakeWouldTakeApart) {
  write("scx_a.c");
  write("scx_a.bpf.c");
  const std::string tooLong = "scx_" + std::string(70, 'a');
  for (const std::string& name :
       {std::string("scx_a b"), std::string("scx_$(x)"), std::string("scx_"), tooLong}) {
    write(name + ".c");
    EXPECT_EQ(failure().name(), "scheduler-name-invalid") << name;
    EXPECT_THAT(failure().message(), HasSubstr(name));
    std::filesystem::remove(directory_ / (name + ".c"));
  }
  write("a b.h");
  EXPECT_EQ(failure().name(), "scheduler-name-invalid");
}

TEST_F(OwnSourcesRead, RefuseOneNameInTwoDirectories) {
  for (const char* place : {"one", "two"}) {
    directory_.make(place);
    for (const char* file : {"scx_a.c", "scx_a.bpf.c"}) write(std::string(place) + "/" + file);
  }
  const Error error = failure({directory_ / "one", directory_ / "two"});
  EXPECT_EQ(error.name(), "scheduler-source-twice");
  EXPECT_THAT(error.message(), HasSubstr("/one/scx_a."));
  EXPECT_THAT(error.message(), HasSubstr("/two/scx_a."));
}

TEST_F(OwnSourcesRead, AreLaidOverTheTreesOwnButNotThroughItsLinks) {
  write("scx_a.c", "ours");
  write("scx_a.bpf.c", "ours too");
  const OwnSources sources = read();
  directory_.make("tree");
  write("elsewhere", "untouched");
  write("tree/scx_a.bpf.c", "a longer text of the tree");
  std::filesystem::create_symlink(directory_ / "elsewhere", directory_ / "tree/scx_a.c");
  layOwnSources(sources, directory_ / "tree");
  EXPECT_EQ(readFile(directory_ / "tree/scx_a.c"), "ours");
  EXPECT_EQ(readFile(directory_ / "tree/scx_a.bpf.c"), "ours too");
  EXPECT_EQ(readFile(directory_ / "elsewhere"), "untouched");
}

}  // namespace
}  // namespace ktstr::kbuild
