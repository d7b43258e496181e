#include "cache/debian.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/apt.h"
#include "cache/test_images.h"

namespace ktstr::cache {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

int sign(int value) {
  return (value > 0) - (value < 0);
}

// Each line ordered as `dpkg --compare-versions` does.
TEST(DebianVersions, Order) {
  const std::vector<std::string> ascending = {"6.9.7-1",
                                              "6.12.43-1~bpo12+1",
                                              "6.12.43-1",
                                              "6.12.107-1",
                                              "6.18.15-1~bpo13+1",
                                              "7.3~rc1-1",
                                              "7.3-1",
                                              "7.3.4-1~bpo13+1",
                                              "7.3.4-1",
                                              "7.3.4-1+b1",
                                              "7.3.4-2",
                                              "7.3.4-10",
                                              "7.3.10-1",
                                              "7.30-1",
                                              "7.30+dfsg-1",
                                              "1:0.1-1"};
  for (size_t i = 0; i < ascending.size(); ++i) {
    for (size_t j = 0; j < ascending.size(); ++j) {
      EXPECT_EQ(sign(compareDebianVersions(ascending[i], ascending[j])), (i > j) - (i < j))
          << ascending[i] << " and " << ascending[j];
    }
  }
  EXPECT_EQ(compareDebianVersions("7.03-1", "7.3-1"), 0);
  EXPECT_EQ(upstreamVersion("1:6.18.15-1~bpo13+1"), "6.18.15");
}

TEST(VersionPrefix, EndsAtAComponent) {
  EXPECT_TRUE(versionMatches("7.3", "7.3.4"));
  EXPECT_TRUE(versionMatches("7.3", "7.3"));
  EXPECT_TRUE(versionMatches("7", "7.30.1"));
  EXPECT_FALSE(versionMatches("7.3", "7.30"));
  EXPECT_FALSE(versionMatches("7.3.4", "7.3"));
  EXPECT_LT(compareVersions("7.3.4", "7.30"), 0);
  EXPECT_LT(compareVersions("7.3", "7.3.0"), 0);
  EXPECT_EQ(compareVersions("6.18.15", "6.18.15"), 0);
}

const std::vector<DebianPackage> archive = {
    {"linux-image-6.12.43+deb12-cloud-amd64", "6.12.43-1~bpo12+1"},
    {"linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"},
    {"linux-image-6.1.0-50-cloud-amd64", "6.1.176-1"},
    {"linux-image-6.18.15+deb13-amd64", "6.18.15-1~bpo13+1"},
    {"linux-image-7.0.13+deb13-cloud-amd64", "7.0.13-1~bpo13+1", true},
    {"linux-binary-7.0.13+deb13-cloud-amd64", "7.0.13-1~bpo13+1"},
    {"linux-image-7.1.1+deb13-cloud-amd64", "7.1.1-1~bpo13+1", true},
    {"linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1", true},
    {"linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"},
    {"linux-base-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"},
    {"linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"},
    {"linux-binary-7.3.4+deb13-rt-amd64", "7.3.4-1~bpo13+1"},
    {"linux-binary-7.30.1+deb13-cloud-amd64", "7.30.1-1"},
    {"linux-source-7.3", "7.3.2-1~bpo13+1"},
    {"linux-source-7.3", "7.3.4-1~bpo13+1"},
    {"linux-image-cloud-amd64", "7.30.1-1"},
};

KernelPlan plan(const char* spec) {
  return planKernel(archive, parseKernelSpec(spec));
}

TEST(KernelPlan, SplitPackages) {
  const KernelPlan kernel = plan("debian:7.3");
  EXPECT_EQ(kernel.release, "7.3.4+deb13-cloud-amd64");
  EXPECT_EQ(kernel.version, "7.3.4");
  EXPECT_EQ(kernel.image.name, "linux-binary-7.3.4+deb13-cloud-amd64");
  ASSERT_TRUE(kernel.config);
  EXPECT_EQ(kernel.config->name, "linux-base-7.3.4+deb13-cloud-amd64");
  ASSERT_TRUE(kernel.modules);
  EXPECT_TRUE(kernel.missing.empty());
}

TEST(KernelPlan, OnePackageWithEverything) {
  const KernelPlan kernel = plan("debian:6.12");
  EXPECT_EQ(kernel.version, "6.12.117");
  EXPECT_EQ(kernel.image.name, "linux-image-6.12.117+deb13-cloud-amd64");
  EXPECT_FALSE(kernel.config);
  EXPECT_EQ(kernel.modules, kernel.image);
  EXPECT_EQ(plan("debian:6.12.43").image.version, "6.12.43-1~bpo12+1");
  EXPECT_EQ(plan("debian:6.1").release, "6.1.0-50-cloud-amd64");
  EXPECT_EQ(plan("debian:6.1").version, "6.1.176");
}

TEST(KernelPlan, PartsThatHaveLeftTheArchiveAreNamed) {
  EXPECT_THAT(plan("debian:7.0").missing,
              ElementsAre("config: package linux-base-7.0.13+deb13-cloud-amd64 is not in the archive",
                          "modules: package linux-modules-7.0.13+deb13-cloud-amd64 is not in the archive"));
  EXPECT_EQ(test::errorName([] { plan("debian:7.1"); }), "kernel-incomplete");
}

TEST(KernelPlan, FlavoursAreKeptApart) {
  EXPECT_EQ(plan("debian:6.18:generic").release, "6.18.15+deb13-amd64");
  EXPECT_EQ(plan("debian:7.3:rt").release, "7.3.4+deb13-rt-amd64");
  EXPECT_EQ(test::errorName([] { plan("debian:6.18"); }), "kernel-not-found");
  EXPECT_EQ(test::errorName([] { plan("debian:6.12:generic"); }), "kernel-not-found");
}

TEST(KernelPlan, AnUnknownVersionListsTheNearestOnesFirst) {
  try {
    plan("debian:6.99");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.name(), "kernel-not-found");
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_EQ(error.hint(), "there are 6.12.117, 6.12.43, 6.1.176, 7.30.1, 7.3.4, 7.0.13");
  }
}

TEST(KernelVersions, AreThoseOfAFlavourThatCanBeHad) {
  EXPECT_THAT(kernelVersions(archive, "rt"), ElementsAre("7.3.4"));
  EXPECT_THAT(kernelVersions(archive, "cloud"),
              testing::UnorderedElementsAre("6.12.43", "6.12.117", "6.1.176", "7.0.13", "7.3.4", "7.30.1"));
}

TEST(SourcePlan, TheNewestThatMatches) {
  EXPECT_EQ(planSource(archive, parseKernelSpec("debian:7.3")).version, "7.3.4-1~bpo13+1");
  EXPECT_EQ(planSource(archive, parseKernelSpec("debian:7.3.2")).version, "7.3.2-1~bpo13+1");
  EXPECT_EQ(test::errorName([] { planSource(archive, parseKernelSpec("debian:6.18")); }), "kernel-not-found");
}

TEST(AptOutput, PackagesFromControlParagraphs) {
  ControlParser parser;
  for (const char* line : {"Package: linux-image-7.3.4+deb13-amd64", "Version: 7.3.4-1", "Installed-Size: 15",
                           "Depends: kmod, linux-binary-7.3.4+deb13-amd64 (= 7.3.4-1)", "Description: x",
                           " Version: not a field", "", "Package: linux-source-7.3", "Version: 7.3.4-1", "",
                           "Package: without-version", ""}) {
    parser.line(line);
  }
  EXPECT_THAT(parser.finish(), ElementsAre(DebianPackage{"linux-image-7.3.4+deb13-amd64", "7.3.4-1", true},
                                           DebianPackage{"linux-source-7.3", "7.3.4-1", false}));
}

TEST(AptOutput, MirrorOfTheSystem) {
  const std::vector<std::string> targets = {
      "http://other.example/ main Packages stable Other",
      "http://security.example/d main Packages bookworm-security Debian",
      "http://mirror.example/debian/ main DEP-11 bookworm Debian",
      "http://mirror.example/debian/ main Packages bookworm Debian",
  };
  const std::string list = sourcesList(targets, "/k.gpg");
  EXPECT_THAT(list,
              HasSubstr("deb [signed-by=/k.gpg] http://mirror.example/debian/ trixie-backports main\n"));
  EXPECT_THAT(list, HasSubstr("deb [signed-by=/k.gpg] http://security.example/d trixie-security main\n"));
  EXPECT_THAT(list, testing::Not(HasSubstr("other.example")));
  EXPECT_EQ(sourcesList({targets[0]}, ""), "");
  EXPECT_THAT(sourcesList({targets[3]}, ""), HasSubstr("deb http://mirror.example/debian/ sid main\n"));
}

}  // namespace
}  // namespace ktstr::cache
