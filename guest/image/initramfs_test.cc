#include "guest/image/initramfs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "guest/image/base_image.h"
#include "guest/image/test_cpio.h"
#include "guest/image/test_files.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr {
namespace {

class Image : public testing::Test {
 protected:
  Image() {
    request_.agent = tree_.write("agent", "agent");
    request_.busybox = tree_.write("busybox", "busybox");
    request_.files = {{"/ktstr/bin/scheduler", tree_.write("scheduler", "scheduler")}};
  }

  std::vector<CpioMember> members(int file, uint64_t length) {
    const std::string content = readAll(file);
    const std::string archive = unpackLz4Legacy(std::as_bytes(std::span(content)).first(length));
    return readCpio(std::as_bytes(std::span(archive)));
  }

  std::string errorName() {
    try {
      buildImageBase(request_);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.name();
    }
    return "none";
  }

  TestTree tree_;
  ImageRequest request_;
};

TEST_F(Image, holdsEverythingAndEndsWithComplete) {
  const ImageBase base = buildImageBase(request_);
  EXPECT_EQ(fileSize(base.file.get()) % 65536, 0u);
  std::map<std::string, CpioMember> found;
  std::string last;
  for (const CpioMember& member : members(base.file.get(), base.length)) {
    const size_t slash = member.name.rfind('/');
    if (slash != std::string::npos) {
      EXPECT_TRUE(found.contains(member.name.substr(0, slash))) << member.name;
    }
    EXPECT_TRUE(found.emplace(member.name, member).second) << member.name << " twice";
    last = member.name;
  }
  EXPECT_EQ(last, "ktstr/complete");
  EXPECT_EQ(found.at("init").content, "agent");
  EXPECT_EQ(found.at("init").mode, S_IFREG | 0755u);
  EXPECT_EQ(found.at("bin/busybox").content, "busybox");
  EXPECT_EQ(found.at("ktstr/bin/scheduler").content, "scheduler");
  EXPECT_EQ(found.at("dev/console").mode, S_IFCHR | 0600u);
  EXPECT_TRUE(found.contains("proc"));
  EXPECT_TRUE(found.contains("sys"));
}

TEST_F(Image, bringsTheLibrariesOfWhatItIsGiven) {
  request_.files = {{"/ktstr/bin/bash", "/bin/bash"}};
  const ImageBase base = buildImageBase(request_);
  std::map<std::string, CpioMember> found;
  for (const CpioMember& member : members(base.file.get(), base.length)) found.emplace(member.name, member);
  const CpioMember& linker = found.at("lib64/ld-linux-x86-64.so.2");
  EXPECT_TRUE(found.contains(linker.content.substr(1))) << "its target " << linker.content;
}

TEST_F(Image, keyFollowsContentAndModeButNotTime) {
  const std::string key = imageKey(request_);
  EXPECT_THAT(key, testing::MatchesRegex("[0-9a-f]{32}"));
  tree_.write("scheduler", "scheduler");
  EXPECT_EQ(imageKey(request_), key);
  tree_.write("scheduler", "schedulez");
  EXPECT_NE(imageKey(request_), key);
  tree_.write("scheduler", "scheduler");
  EXPECT_EQ(imageKey(request_), key);
  request_.files[0].guestPath = "/ktstr/bin/other";
  EXPECT_NE(imageKey(request_), key);
  request_.files[0] = {"/data/scheduler", tree_.path("scheduler")};
  const std::string executable = imageKey(request_);
  tree_.write("scheduler", "scheduler", 0644);
  EXPECT_NE(imageKey(request_), executable);
}

TEST_F(Image, refusesByName) {
  const ImageRequest good = request_;
  const auto with = [&](auto change) {
    request_ = good;
    change();
    return errorName();
  };
  EXPECT_EQ(with([&] { request_.agent = tree_.path("absent"); }), "binary-missing");
  EXPECT_EQ(with([&] { request_.agent = tree_.path("."); }), "binary-missing");
  EXPECT_EQ(with([&] { request_.busybox = tree_.write("plain", "x", 0644); }), "binary-not-executable");
  EXPECT_EQ(with([&] { request_.files[0].hostPath = tree_.path("plain"); }), "binary-not-executable");
  const std::string arm = tree_.write("arm", TestElf{.machine = EM_AARCH64}.build());
  EXPECT_EQ(with([&] { request_.files[0].hostPath = arm; }), "binary-wrong-architecture");
  const std::string bad = tree_.write("bad", TestElf{.needed = {"libc.so.6"}}.build().substr(0, 100));
  EXPECT_EQ(with([&] { request_.files[0].hostPath = bad; }), "binary-invalid");
  const std::string lonely = tree_.write("lonely", TestElf{.needed = {"libnosuch-ktstr.so.9"}}.build());
  EXPECT_EQ(with([&] { request_.files[0].hostPath = lonely; }), "library-missing");
  for (const char* path : {"relative", "/", "/a/../b", "/a//b", "/a/", "/./a", "/ktstr/run",
                           "/ktstr/complete", "/dev/console", "/init", "/bin/busybox", "/bin", "/tmp"}) {
    EXPECT_EQ(with([&] { request_.files[0].guestPath = path; }), "image-path-invalid") << path;
  }
}

TEST_F(Image, baseComesFromTheCacheTheSecondTime) {
  const cache::Store store = cache::Store::open(tree_.path("cache"));
  const CachedBase first = baseImage(store, request_);
  EXPECT_TRUE(first.built);
  EXPECT_EQ(first.key, imageKey(request_));
  const CachedBase second = baseImage(store, request_);
  EXPECT_FALSE(second.built);
  EXPECT_EQ(second.key, first.key);
  EXPECT_EQ(second.length, first.length);
  EXPECT_EQ(members(second.file.get(), second.length).back().name, "ktstr/complete");
  EXPECT_EQ(fcntl(second.file.get(), F_GETFL) & O_ACCMODE, O_RDONLY);

  tree_.write("scheduler", "another");
  const CachedBase third = baseImage(store, request_);
  EXPECT_TRUE(third.built);
  EXPECT_NE(third.key, first.key);
  tree_.write("scheduler", "scheduler");  // new stats, known content
  EXPECT_FALSE(baseImage(store, request_).built);
}

TEST_F(Image, cacheEntryThatIsGoneIsMadeAgain) {
  const cache::Store store = cache::Store::open(tree_.path("cache"));
  const CachedBase first = baseImage(store, request_);
  EXPECT_TRUE(store.remove("base", first.key));
  const CachedBase second = baseImage(store, request_);
  EXPECT_TRUE(second.built);
  EXPECT_EQ(second.key, first.key);
}

}  // namespace
}  // namespace ktstr
