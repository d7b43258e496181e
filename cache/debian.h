// Which Debian packages hold a kernel: a plain choice over a list of packages.
//
// Debian's names, with R the release as uname -r says it (7.3.4+deb13-cloud-amd64):
//   linux-binary-R    usr/lib/modules/R/vmlinuz              (split packages, since 6.19)
//   linux-base-R      usr/lib/modules/R/config               (split packages)
//   linux-modules-R   usr/lib/modules/R/kernel/...           (split packages)
//   linux-image-R     boot/vmlinuz-R, boot/config-R, modules (before that), or nothing but dependencies on
//   the others linux-source-X.Y  usr/src/linux-source-X.Y.tar.xz
// Which of the two it is, is seen from the packages, never guessed from the version: parts of superseded
// versions may have left the archive.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/kernel.h"

namespace ktstr::cache {

struct DebianPackage {
  std::string name;
  std::string version;       // Debian's: 7.3.4-1~bpo13+1
  bool onlyDepends = false;  // linux-image-R of a split kernel: depends on linux-binary-R
  bool operator==(const DebianPackage&) const = default;
};

struct KernelPlan {
  std::string release;                   // 7.3.4+deb13-cloud-amd64
  std::string version;                   // 7.3.4
  DebianPackage image;                   // has the vmlinuz
  std::optional<DebianPackage> config;   // has the config, if that is another package
  std::optional<DebianPackage> modules;  // has the modules
  std::vector<std::string> missing;      // parts that no package in the list has: "config: package ... "
};

// The newest kernel of the spec's flavour that the spec's version matches and whose vmlinuz can be had.
// Throws Error "kernel-not-found" (usage) with the versions there are, nearest first, as hint, or
// "kernel-incomplete" (usage) if all that match lack their vmlinuz.
KernelPlan planKernel(const std::vector<DebianPackage>& packages, const KernelSpec& spec);

// Versions (upstream's) of all kernels of a flavour whose vmlinuz can be had.
std::vector<std::string> kernelVersions(const std::vector<DebianPackage>& packages,
                                        const std::string& flavour);

// The newest linux-source package for the spec's version; the flavour does not matter. Throws
// "kernel-not-found".
DebianPackage planSource(const std::vector<DebianPackage>& packages, const KernelSpec& spec);

// Upstream part of a Debian version: "6.18.15" of "6.18.15-1~bpo13+1".
std::string upstreamVersion(std::string_view debianVersion);

// Order of Debian versions (Debian Policy 5.6.12: epoch, digits as numbers, ~ before everything): <0, 0, >0.
int compareDebianVersions(std::string_view a, std::string_view b);

}  // namespace ktstr::cache
