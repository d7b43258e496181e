#include "cache/store.h"
#include "protocol/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "cache/sha256.h"
#include "cache/test_images.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

namespace fs = std::filesystem;
using test::errorName;
using test::TemporaryDirectory;
using testing::HasSubstr;

size_t count(const std::string& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

// Runs `work` in a child process and returns its wait status.
template <typename Work>
pid_t inChild(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    try {
      work();
      _exit(0);
    } catch (...) {
      _exit(1);
    }
  }
  return child;
}

int statusOf(pid_t child) {
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

class StoreTest : public testing::Test {
 protected:
  Entry putTwoFiles() {
    return store.put("kernel", "k1", [](Draft& draft) {
      draft.write("vmlinux", "the kernel");
      draft.write("config", std::string(100'000, 'c'));
      draft.attribute("colour", "blue");
      draft.kernel().setRelease("1.2.3");
    });
  }
  Error corruption() {
    try {
      store.find("kernel", "k1");
    } catch (const Error& error) {
      return error;
    }
    return Error(ExitCode::pass, "none", "");
  }

  TemporaryDirectory root;
  Store store = Store::open(root.path());
};

TEST_F(StoreTest, WhatIsPutIsFound) {
  EXPECT_FALSE(store.find("kernel", "k1"));
  putTwoFiles();
  const auto entry = store.find("kernel", "k1");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->kind(), "kernel");
  EXPECT_EQ(entry->key(), "k1");
  EXPECT_EQ(entry->read("vmlinux"), "the kernel");
  EXPECT_EQ(entry->attribute("colour"), "blue");
  EXPECT_EQ(entry->attribute("size"), std::nullopt);
  EXPECT_STREQ(entry->record().getKernel().getRelease().cStr(), "1.2.3");
  EXPECT_STREQ(entry->record().getFiles()[1].getSha256().cStr(), sha256Hex("the kernel").c_str());
  EXPECT_EQ(count(root / "tmp"), 0U);
}

TEST_F(StoreTest, AFileThatIsNotThereIsNamedWithThoseThatAre) {
  const Entry entry = putTwoFiles();
  EXPECT_TRUE(entry.has("config"));
  EXPECT_FALSE(entry.has("metadata.json"));
  try {
    entry.path("btf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "cache-file-missing");
    EXPECT_THAT(error.hint(), HasSubstr("config, vmlinux"));
  }
}

TEST_F(StoreTest, TheFirstOfTwoWritersWins) {
  putTwoFiles();
  const Entry entry = store.put("kernel", "k1", [](Draft& draft) { draft.write("vmlinux", "another"); });
  EXPECT_EQ(entry.read("vmlinux"), "the kernel");
  EXPECT_EQ(count(root / "tmp"), 0U);
}

TEST_F(StoreTest, AFlippedByteIsFoundNamedAndQuarantined) {
  const Entry entry = putTwoFiles();
  test::flipByte(entry.path("config"), 70'000);
  const Error error = corruption();
  EXPECT_EQ(error.name(), "cache-entry-corrupt");
  EXPECT_THAT(error.message(), HasSubstr("/k1/config has SHA-256 "));
  EXPECT_THAT(error.message(), HasSubstr("expected " + sha256Hex(std::string(100'000, 'c'))));
  EXPECT_THAT(error.message(), HasSubstr(root / "quarantine/kernel.k1."));
  EXPECT_EQ(count(root / "quarantine"), 1U);
  EXPECT_FALSE(store.find("kernel", "k1"));
}

TEST_F(StoreTest, TruncationIsFound) {
  const Entry entry = putTwoFiles();
  fs::resize_file(entry.path("config"), 99'999);
  EXPECT_THAT(corruption().message(), HasSubstr("config has 99999 bytes, expected 100000"));
}

TEST_F(StoreTest, AMissingFileIsFound) {
  const Entry entry = putTwoFiles();
  fs::remove(entry.path("config"));
  EXPECT_THAT(corruption().message(), HasSubstr("config is missing"));
}

TEST_F(StoreTest, DamagedMetadataIsFound) {
  const Entry entry = putTwoFiles();
  test::flipByte(entry.directory() + "/metadata.json", 20);
  EXPECT_THAT(corruption().message(), HasSubstr("metadata.json has SHA-256"));
}

TEST_F(StoreTest, VerifyReadsEveryByteWhateverTheStampSays) {
  const Entry entry = putTwoFiles();
  store.verify(entry);
  test::flipByte(entry.path("vmlinux"), 0);
  // A stamp that vouches for the damaged file: find() believes it, verify() does not.
  struct stat status {};
  ASSERT_EQ(stat(entry.path("vmlinux").c_str(), &status), 0);
  const std::string stamp = entry.directory() + "/verified";
  std::string lines = readFile(stamp);
  lines += text("vmlinux ", status.st_size, " ", status.st_mtim.tv_sec, ".", status.st_mtim.tv_nsec, " ",
                status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec, " ", status.st_ino, "\n");
  test::writeFile(stamp, lines);
  EXPECT_TRUE(store.find("kernel", "k1"));
  EXPECT_EQ(errorName([&] { store.verify(entry); }), "cache-entry-corrupt");
  EXPECT_FALSE(store.find("kernel", "k1"));
}

TEST_F(StoreTest, WithoutAStampFilesAreVerifiedAndStampedAgain) {
  const Entry entry = putTwoFiles();
  fs::remove(entry.directory() + "/verified");
  EXPECT_TRUE(store.find("kernel", "k1"));
  EXPECT_THAT(readFile(entry.directory() + "/verified"), HasSubstr("\nvmlinux 10 "));
}

TEST_F(StoreTest, FindOrMakeHealsACorruptEntryAndSaysSo) {
  const Entry entry = putTwoFiles();
  test::flipByte(entry.path("vmlinux"), 3);
  std::string reported;
  const Entry healed = store.findOrMake(
      "kernel", "k1", [](Draft& draft) { draft.write("vmlinux", "the kernel"); },
      [&](const Error& error) { reported = error.name(); });
  EXPECT_EQ(reported, "cache-entry-corrupt");
  EXPECT_EQ(healed.read("vmlinux"), "the kernel");
}

TEST_F(StoreTest, AFailingFillLeavesNothing) {
  const auto fill = [](Draft& draft) {
    draft.write("a", "b");
    throw Error(ExitCode::fail, "no-luck", "today");
  };
  EXPECT_EQ(errorName([&] { store.put("kernel", "k1", fill); }), "no-luck");
  EXPECT_FALSE(store.find("kernel", "k1"));
  EXPECT_EQ(count(root / "tmp"), 0U);
}

TEST_F(StoreTest, NamesThatWouldLeaveTheStoreAreRefused) {
  for (const char* name : {"", ".", "..", "../x", "a/b", ".hidden", "a b", "\xc3\xa4", "a\n"}) {
    EXPECT_EQ(errorName([&] { store.find("kernel", name); }), "cache-key-invalid") << name;
    EXPECT_EQ(errorName([&] { store.find(name, "key"); }), "cache-key-invalid") << name;
    EXPECT_EQ(errorName([&] { checkName(asName(name)); }), "") << name;
  }
  EXPECT_EQ(errorName([&] { store.put("kernel", "k", [](Draft& d) { d.write("../x", "y"); }); }),
            "cache-key-invalid");
  EXPECT_EQ(asName("debian-7.3.4+deb13_1"), "debian-7.3.4+deb13_1");
  EXPECT_NE(asName("a:b"), asName("a~b"));
  EXPECT_EQ(errorName([&] { checkName(asName(std::string(5000, 'x'))); }), "");
}

TEST_F(StoreTest, RemovedEntriesAreGoneAndListsShowTheRest) {
  putTwoFiles();
  store.put("kernel", "k2", [](Draft& draft) { draft.write("vmlinux", "2"); });
  EXPECT_TRUE(store.remove("kernel", "k1"));
  EXPECT_FALSE(store.remove("kernel", "k1"));
  ASSERT_EQ(store.list("kernel").size(), 1U);
  EXPECT_EQ(store.list("kernel")[0].key(), "k2");
  EXPECT_TRUE(store.list("nothing").empty());
  EXPECT_EQ(count(root / "tmp"), 0U);
}

TEST_F(StoreTest, AliasesStandForKeys) {
  EXPECT_EQ(store.alias("kernel", "newest"), std::nullopt);
  store.setAlias("kernel", "newest", "k1");
  store.setAlias("kernel", "newest", "k2");
  EXPECT_EQ(store.alias("kernel", "newest"), "k2");
  test::writeFile(root / "aliases/kernel/newest", "../../etc");
  EXPECT_EQ(store.alias("kernel", "newest"), std::nullopt);
}

TEST_F(StoreTest, TwoProcessesThatAskAtOnceDoTheWorkOnce) {
  const std::string log = root / "work.log";
  const auto work = [&] {
    const Entry entry = store.findOrMake("base", "b", [&](Draft& draft) {
      writeAll(openFile(log, O_WRONLY | O_CREAT | O_APPEND, 0644).get(), "made\n");
      draft.write("base", std::string(1'000'000, 'b'));
      usleep(50'000);
    });
    if (entry.read("base").size() != 1'000'000) throw 1;
  };
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) children.push_back(inChild(work));
  for (const pid_t child : children) EXPECT_EQ(statusOf(child), 0);
  EXPECT_EQ(readFile(log), "made\n");
}

TEST_F(StoreTest, AWriterThatIsKilledLeavesNothingVisibleAndItsDraftIsRemoved) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = inChild([&] {
    store.put("kernel", "k1", [&](Draft& draft) {
      draft.write("vmlinux", "half");
      if (write(ends[1], "x", 1) != 1) _exit(1);
      pause();
    });
  });
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
  EXPECT_EQ(count(root / "tmp"), 1U);
  Store::open(root.path());
  EXPECT_EQ(count(root / "tmp"), 1U) << "the draft of a living writer was removed";
  kill(child, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(statusOf(child)));
  EXPECT_FALSE(store.find("kernel", "k1"));
  EXPECT_TRUE(store.list("kernel").empty());
  Store::open(root.path());
  EXPECT_EQ(count(root / "tmp"), 0U);
  putTwoFiles();  // and no lock is left behind
  close(ends[0]);
  close(ends[1]);
}

TEST(StoreOnAFullDisk, IsNamedAndLeavesNothing) {
  const TemporaryDirectory directory;
  if (mount("ktstr-test", directory.path().c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "a small tmpfs cannot be mounted here: " << strerror(errno);
  }
  {
    const Store store = Store::open(directory.path());
    const auto fill = [](Draft& draft) { draft.write("vmlinux", std::string(size_t{2} << 20, 'x')); };
    try {
      store.put("kernel", "k1", fill);
      ADD_FAILURE() << "2 MiB were stored in 1 MiB";
    } catch (const Error& error) {
      EXPECT_EQ(error.name(), "disk-full");
      EXPECT_EQ(error.code(), ExitCode::infrastructure);
      EXPECT_THAT(error.message(), HasSubstr(directory.path()));
      EXPECT_THAT(error.hint(), HasSubstr("KTSTR_CACHE_DIR"));
    }
    EXPECT_FALSE(store.find("kernel", "k1"));
    EXPECT_EQ(count(directory / "tmp"), 0U);
    store.put("kernel", "k1", [](Draft& draft) { draft.write("vmlinux", "small"); });
    EXPECT_TRUE(store.find("kernel", "k1"));
  }
  umount2(directory.path().c_str(), MNT_DETACH);
}

TEST(StorePlace, FollowsTheEnvironment) {
  setenv("KTSTR_CACHE_DIR", "/a", 1);
  setenv("XDG_CACHE_HOME", "/b", 1);
  EXPECT_EQ(Store::defaultRoot(), "/a");
  unsetenv("KTSTR_CACHE_DIR");
  EXPECT_EQ(Store::defaultRoot(), "/b/ktstr");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/c", 1);
  EXPECT_EQ(Store::defaultRoot(), "/c/.cache/ktstr");
  EXPECT_EQ(errorName([] { Store::open("/proc/nowhere"); }), "cache-unusable");
}

}  // namespace
}  // namespace ktstr::cache
