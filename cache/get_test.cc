// Getting kernels from a real Debian archive. Skipped, with the reason, where there is none to be reached.
#include "cache/get.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "cache/kernel_image.h"
#include "cache/test_images.h"

namespace ktstr::cache {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

GetReport quiet(std::string* notes = nullptr) {
  return {[notes](std::string_view line) {
            if (notes != nullptr) notes->append(line);
          },
          [](int, std::string_view) {}};
}

// The user's own apt root if there is one, to spare the mirror, else one in `directory`.
std::string aptRoot(const test::TemporaryDirectory& directory) {
  const std::string own = Store::defaultRoot() + "/apt";
  return fs::exists(own + "/updated") ? own : directory / "apt";
}

TEST(RealArchive, ASplitKernelComesWithAllItsParts) {
  const test::TemporaryDirectory directory;
  Fetcher fetcher = Fetcher::start(aptRoot(directory));
  const Store store = Store::open(directory / "store");
  const KernelSpec spec = parseKernelSpec("debian:7.3");
  std::optional<Entry> entry;
  try {
    entry = getKernel(store, spec, fetcher, {}, quiet());
  } catch (const Error& error) {
    for (const char* absent : {"kernel-unavailable", "debian-mirror-missing", "apt-missing"}) {
      if (error.name() == absent) GTEST_SKIP() << "no Debian archive can be reached: " << error.what();
    }
    throw;
  }
  const auto facts = entry->record().getKernel();
  EXPECT_THAT(facts.getVersion().cStr(), testing::StartsWith("7.3."));
  EXPECT_THAT(facts.getRelease().cStr(), HasSubstr("-cloud-amd64"));
  EXPECT_TRUE(facts.getHasSchedExt());
  EXPECT_THAT(entry->read("config"), HasSubstr("CONFIG_SCHED_CLASS_EXT=y"));
  const std::string vmlinux = entry->read("vmlinux");
  EXPECT_EQ(parseKernelElf(test::bytesOf(vmlinux)).buildId, facts.getBuildId().cStr());
  EXPECT_EQ(findRelease(test::bytesOf(vmlinux)), facts.getRelease().cStr());

  // From here on no network is needed: a fetcher that could only fail is not asked.
  Fetcher useless = Fetcher::start("/proc/nowhere");
  EXPECT_EQ(getKernel(store, spec, useless, {}, quiet()).key(), entry->key());
  EXPECT_EQ(getKernel(store, parseKernelSpec(std::string("debian:") + facts.getVersion().cStr()), useless, {},
                      quiet())
                .key(),
            entry->key());
}

TEST(RealArchive, ARangeStandsForTheSeriesThereWereAtFirst) {
  const test::TemporaryDirectory directory;
  Fetcher fetcher = Fetcher::start(aptRoot(directory));
  const Store store = Store::open(directory / "store");
  std::vector<std::string> specs;
  try {
    specs = expandSpec(store, "debian:7.0..7.3", fetcher, {}, quiet());
  } catch (const Error& error) {
    for (const char* absent : {"kernel-unavailable", "debian-mirror-missing", "apt-missing"}) {
      if (error.name() == absent) GTEST_SKIP() << "no Debian archive can be reached: " << error.what();
    }
    throw;
  }
  EXPECT_THAT(specs, testing::Contains("debian:7.3"));
  Fetcher useless = Fetcher::start("/proc/nowhere");
  EXPECT_EQ(expandSpec(store, "debian:7.0..7.3", useless, {}, quiet()), specs);
}

TEST(Expansion, WhatIsNoRangeStandsForItself) {
  const test::TemporaryDirectory directory;
  const Store store = Store::open(directory / "store");
  Fetcher useless = Fetcher::start("/proc/nowhere");
  EXPECT_THAT(expandSpec(store, "debian:7.3:cloud", useless, {}, quiet()),
              testing::ElementsAre("debian:7.3"));
  EXPECT_THAT(expandSpec(store, "/a/../b", useless, {}, quiet()), testing::ElementsAre("/b"));
  EXPECT_EQ(test::errorName([&] { expandSpec(store, "6.16..7.0", useless, {}, quiet()); }),
            "kernel-spec-invalid");
}

// Runs `work` without any network; its result is the exit status.
template <typename Work>
int withoutNetwork(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) _exit(77);
    try {
      work();
      _exit(testing::Test::HasFailure() ? 1 : 0);
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(2);
    }
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST(NoNetwork, IsNamedUnlessSomethingCachedMatches) {
  const test::TemporaryDirectory directory;
  const int status = withoutNetwork([&] {
    Fetcher fetcher = Fetcher::start(directory / "store/apt");
    const Store store = Store::open(directory / "store");
    const KernelSpec spec = parseKernelSpec("debian:9.9");
    try {
      getKernel(store, spec, fetcher, {}, quiet());
      ADD_FAILURE() << "got a kernel from nowhere";
    } catch (const Error& error) {
      if (error.name() == "debian-mirror-missing" || error.name() == "apt-missing") _exit(78);
      EXPECT_EQ(error.name(), "kernel-unavailable") << error.what();
      EXPECT_EQ(error.code(), ExitCode::infrastructure);
      EXPECT_THAT(error.hint(), HasSubstr("network"));
    }
    store.put("kernel", "debian-x", [](Draft& draft) {
      fillKernel(draft, test::makeBzImage());
      draft.kernel().setSource("debian");
      draft.kernel().setFlavour("cloud");
      draft.kernel().setVersion("9.9.1");
    });
    std::string notes;
    EXPECT_EQ(getKernel(store, spec, fetcher, {}, quiet(&notes)).key(), "debian-x");
    EXPECT_THAT(notes, HasSubstr("using the cached 9.9.1-test"));
  });
  if (status == 77) GTEST_SKIP() << "no network namespace can be made here";
  if (status == 78) GTEST_SKIP() << "the system has no apt with a Debian mirror";
  EXPECT_EQ(status, 0);
}

TEST(DeadFetcher, IsNamed) {
  Fetcher fetcher = Fetcher::start("/proc/nowhere");
  EXPECT_EQ(test::errorName([&] { fetcher.packages(false, {}); }), "cache-unusable");
}

}  // namespace
}  // namespace ktstr::cache
