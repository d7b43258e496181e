#include "cache/kernel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cache/get.h"
#include "cache/test_images.h"

namespace ktstr::cache {
namespace {

using test::errorName;
using testing::Contains;
using testing::HasSubstr;

TEST(KernelSpecs, Forms) {
  const KernelSpec prefix = parseKernelSpec("debian:7.3");
  EXPECT_EQ(prefix.source, KernelSpec::Source::debian);
  EXPECT_EQ(prefix.version, "7.3");
  EXPECT_EQ(prefix.flavour, "cloud");
  EXPECT_EQ(prefix.text(), "debian:7.3");
  EXPECT_EQ(parseKernelSpec("debian:6.18.15:generic").text(), "debian:6.18.15:generic");
  EXPECT_EQ(parseKernelSpec("debian:7.3:cloud").text(), "debian:7.3");
  EXPECT_EQ(parseKernelSpec("/boot/../boot/vmlinuz").path, "/boot/vmlinuz");
  EXPECT_EQ(parseKernelSpec("./x").path, (std::filesystem::current_path() / "x").string());
}

TEST(KernelSpecs, WhatIsNoneIsRefused) {
  for (const char* bad :
       {"", "debian", "debian:", "debian:x", "debian:7.", "debian:.7", "debian:7..3",
        "debian:7.3:", "debian:7.3:huge", "debian:7.3:cloud:x", "fedora:7.3", "7.3", "debian:-1"}) {
    EXPECT_EQ(errorName([&] { parseKernelSpec(bad); }), "kernel-spec-invalid") << bad;
  }
}

std::vector<std::string> missing(const Entry& entry) {
  std::vector<std::string> result;
  for (const auto item : entry.record().getKernel().getMissing()) result.push_back(item.cStr());
  return result;
}

class KernelFiles : public testing::Test {
 protected:
  std::string file(const std::string& content) {
    test::writeFile(directory / "kernel", content);
    return directory / "kernel";
  }
  Entry add(const std::string& content) { return addKernelFile(store, parseKernelSpec(file(content))); }

  test::TemporaryDirectory directory;
  Store store = Store::open(directory / "store");
};

TEST_F(KernelFiles, ABzImageGivesAllItsParts) {
  const std::string image = test::makeBzImage();
  const Entry entry = add(image);
  EXPECT_EQ(entry.read("vmlinuz"), image);
  EXPECT_EQ(entry.read("vmlinux"), test::makeVmlinux());
  EXPECT_FALSE(entry.read("btf").empty());
  const auto facts = entry.record().getKernel();
  EXPECT_STREQ(facts.getSource().cStr(), "path");
  EXPECT_STREQ(facts.getRelease().cStr(), "9.9.1-test");
  EXPECT_STREQ(facts.getVersion().cStr(), "9.9.1");
  EXPECT_STREQ(facts.getBuildId().cStr(), test::testBuildId);
  EXPECT_TRUE(facts.getHasBtf());
  EXPECT_TRUE(facts.getHasSchedExt());
  EXPECT_EQ(findKernel(store, directory / "kernel").key(), entry.key());
}

TEST_F(KernelFiles, AVmlinuxWithoutBtfIsTakenAndSaysWhatIsMissing) {
  const Entry entry = add(test::makeVmlinux({.btf = false, .buildId = false}));
  EXPECT_FALSE(entry.has("vmlinuz"));
  EXPECT_FALSE(entry.has("btf"));
  EXPECT_FALSE(entry.record().getKernel().getHasBtf());
  EXPECT_THAT(missing(entry), Contains(HasSubstr("btf: the kernel has no .BTF section")));
  EXPECT_THAT(missing(entry), Contains(HasSubstr("build id: ")));
  EXPECT_THAT(missing(entry), Contains(HasSubstr("vmlinuz: ")));
}

TEST_F(KernelFiles, WithoutSchedExt) {
  const Entry entry = add(test::makeVmlinux({.schedExt = false}));
  const auto facts = entry.record().getKernel();
  EXPECT_TRUE(facts.getHasBtf());
  EXPECT_FALSE(facts.getHasSchedExt());
}

TEST_F(KernelFiles, AChangedFileIsAnotherKernel) {
  const Entry first = add(test::makeVmlinux({.release = "9.1.1"}));
  const Entry second = add(test::makeVmlinux({.release = "9.1.2"}));
  EXPECT_NE(first.key(), second.key());
  EXPECT_EQ(findKernel(store, directory / "kernel").key(), second.key());
  ASSERT_EQ(listKernels(store).size(), 2U);
  EXPECT_EQ(listKernels(store)[0].key(), second.key());
}

TEST_F(KernelFiles, BadFilesAreNamedAndLeaveNothing) {
  EXPECT_EQ(errorName([&] { add(test::makeBzImage().substr(0, 1200)); }), "kernel-image-truncated");
  EXPECT_EQ(errorName([&] { add("#!/bin/sh\n" + std::string(4096, ' ')); }), "kernel-image-invalid");
  EXPECT_EQ(errorName([&] { add(test::makeVmlinux({.machine = 183})); }), "kernel-wrong-architecture");
  EXPECT_EQ(errorName([&] { addKernelFile(store, parseKernelSpec("/nowhere/vmlinuz")); }),
            "kernel-file-missing");
  EXPECT_EQ(errorName([&] { addKernelFile(store, parseKernelSpec("/dev/null")); }), "kernel-file-missing");
  EXPECT_TRUE(listKernels(store).empty());
}

TEST_F(KernelFiles, WhatIsNotCachedSaysHowToGetIt) {
  try {
    findKernel(store, "debian:7.3");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "kernel-not-cached");
    EXPECT_THAT(error.hint(), HasSubstr("ktstr kernel get debian:7.3"));
  }
  const std::string path = file(test::makeBzImage());
  EXPECT_EQ(errorName([&] { findKernel(store, path); }), "kernel-not-cached");
  EXPECT_EQ(errorName([&] { removeKernel(store, path); }), "kernel-not-cached");
}

TEST_F(KernelFiles, RemovedKernelsAreNotCached) {
  const Entry entry = add(test::makeBzImage());
  removeKernel(store, directory / "kernel");
  EXPECT_EQ(errorName([&] { findKernel(store, directory / "kernel"); }), "kernel-not-cached");
}

TEST_F(KernelFiles, ADebianKernelIsFoundByItsExactVersionAndByWhatItWasAskedForAs) {
  store.put("kernel", "debian-x", [](Draft& draft) {
    fillKernel(draft, test::makeBzImage());
    draft.kernel().setSource("debian");
    draft.kernel().setFlavour("cloud");
    draft.kernel().setVersion("7.3.4");
  });
  EXPECT_EQ(findKernel(store, "debian:7.3.4").key(), "debian-x");
  EXPECT_EQ(errorName([&] { findKernel(store, "debian:7.3"); }), "kernel-not-cached");
  EXPECT_EQ(errorName([&] { findKernel(store, "debian:7.3.4:generic"); }), "kernel-not-cached");
  store.setAlias("kernel", asName("debian:7.3"), "debian-x");
  EXPECT_EQ(findKernel(store, "debian:7.3").key(), "debian-x");
}

TEST_F(KernelFiles, ADamagedEntryIsQuarantinedAndMadeAnew) {
  const Entry entry = add(test::makeBzImage());
  test::flipByte(entry.path("vmlinux"), 100);
  const std::string path = directory / "kernel";
  EXPECT_EQ(errorName([&] { findKernel(store, path); }), "cache-entry-corrupt");
  std::string reported;
  const Entry healed =
      addKernelFile(store, parseKernelSpec(path), [&](const Error& error) { reported = error.name(); });
  EXPECT_EQ(reported, "") << "it had already been moved away";
  EXPECT_EQ(healed.read("vmlinux"), test::makeVmlinux());
}

}  // namespace
}  // namespace ktstr::cache
