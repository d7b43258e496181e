#include "cache/service.h"
#include "protocol/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <sys/mman.h>

#include <memory>

#include "cache/test_images.h"
#include "protocol/call_error.h"
#include "protocol/transport.h"

namespace ktstr::cache {
namespace {

constexpr const char* buildId = "00112233aabbccdd";

Fd sealedMemfd(const std::string& content, int seals = F_SEAL_WRITE | F_SEAL_SHRINK) {
  Fd fd = makeMemfd("analysis", 0);
  writeAll(fd.get(), content);
  fcntl(fd.get(), F_ADD_SEALS, seals);
  return fd;
}

// A client and a server, connected by a socket pair in one event loop.
struct Ends {
  Ends(const Store& store, std::pair<Fd, Fd> sockets)
      : server(*io.lowLevelProvider, std::move(sockets.first), makeAnalysisStore(store)),
        client(*io.lowLevelProvider, std::move(sockets.second), nullptr) {}

  kj::AsyncIoContext io = kj::setupAsyncIo();
  Connection server;
  Connection client;
  rpc::AnalysisStore::Client analyses = client.bootstrap().castAs<rpc::AnalysisStore>();
};

class ServiceTest : public testing::Test {
 protected:
  void store(const std::string& id, Fd fd) {
    auto request = ends->analyses.storeRequest();
    request.setBuildId(id);
    request.setAnalysis(giveFd(std::move(fd)).castAs<rpc::Fd>());
    call([&] { request.send().wait(ends->io.waitScope); });
  }
  std::optional<std::string> lookup(const std::string& id) {
    auto request = ends->analyses.lookupRequest();
    request.setBuildId(id);
    std::optional<std::string> content;
    call([&] {
      auto reply = request.send().wait(ends->io.waitScope);
      if (!reply.getFound()) return;
      const Fd fd = takeFd(reply.getAnalysis()).wait(ends->io.waitScope);
      EXPECT_EQ(fcntl(fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
      content = readAll(fd.get());
    });
    return content;
  }
  template <typename Work>
  static void call(Work work) {
    try {
      work();
    } catch (const kj::Exception& exception) {
      rethrowAsError(exception);
    }
  }

  test::TemporaryDirectory directory;
  Store cache = Store::open(directory.path());
  std::unique_ptr<Ends> ends = std::make_unique<Ends>(cache, makeSocketPair());
};

TEST_F(ServiceTest, WhatIsStoredIsFound) {
  EXPECT_EQ(lookup(buildId), std::nullopt);
  store(buildId, sealedMemfd("symbols"));
  EXPECT_EQ(lookup(buildId), "symbols");
  store(buildId, sealedMemfd("others"));
  EXPECT_EQ(lookup(buildId), "symbols") << "a second writer is a no-op";
}

TEST_F(ServiceTest, ADamagedAnalysisIsNotFoundAndCanBeStoredAgain) {
  store(buildId, sealedMemfd("symbols"));
  test::flipByte(directory / ("entries/analysis/" + std::string(buildId) + "/analysis"), 2);
  EXPECT_EQ(lookup(buildId), std::nullopt);
  store(buildId, sealedMemfd("symbols"));
  EXPECT_EQ(lookup(buildId), "symbols");
}

TEST_F(ServiceTest, WhatCouldStillChangeIsRefused) {
  EXPECT_EQ(test::errorName([&] { store(buildId, sealedMemfd("x", F_SEAL_WRITE)); }), "analysis-not-sealed");
  EXPECT_EQ(test::errorName([&] { store(buildId, sealedMemfd("x", F_SEAL_SHRINK)); }), "analysis-not-sealed");
  test::writeFile(directory / "plain", "x");
  EXPECT_EQ(test::errorName([&] { store(buildId, openFile(directory / "plain", O_RDONLY)); }),
            "analysis-not-sealed");
  EXPECT_EQ(lookup(buildId), std::nullopt);
}

TEST_F(ServiceTest, SizesAndBuildIdsAreChecked) {
  Fd huge = makeMemfd("analysis", maxAnalysis + 1);
  fcntl(huge.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK);
  EXPECT_EQ(test::errorName([&] { store(buildId, std::move(huge)); }), "analysis-too-large");
  EXPECT_EQ(test::errorName([&] { store(buildId, sealedMemfd("")); }), "analysis-too-large");
  for (const char* bad : {"", "abc", "../../../../etc", "00112233AABBCCDD"}) {
    EXPECT_EQ(test::errorName([&] { store(bad, sealedMemfd("x")); }), "build-id-invalid") << bad;
    EXPECT_EQ(test::errorName([&] { lookup(bad); }), "build-id-invalid") << bad;
  }
}

}  // namespace
}  // namespace ktstr::cache
