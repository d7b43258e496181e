#include "kbuild/recipe.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "cache/sha256.h"
#include "protocol/error.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
const std::vector<std::string>& wantedSources() {
  static const std::vector<std::string> paths{"Makefile", "kernel/bpf/", "scripts/", "tools/"};
  return paths;
}

const std::vector<std::string>& unwantedSources() {
  static const std::vector<std::string> paths{"scripts/dtc/", "tools/perf/", "tools/testing/"};
  return paths;
}

const std::vector<std::string>& kitParts() {
  static const std::vector<std::string> parts{"source/tools/arch",    "source/tools/build",
                                              "source/tools/include", "source/tools/lib",
                                              "source/tools/scripts", "source/tools/sched_ext",
                                              "build/build/include",  "build/build/obj/libbpf/libbpf.a",
                                              "build/build/sbin"};
  return parts;
}

std::string kitKey(const std::string& sourceDigest, const Tools& tools) {
  const std::string all = text("recipe ", recipeVersion, "\nsource ", sourceDigest, "\nclang ",
                               tools.clangVersion, "\ncc ", tools.compilerVersion, "\n");
  return "kit-" + cache::sha256Hex(all).substr(0, 40);
}

std::string entryKey(const std::string& sourceDigest, const std::string& btfId, const Tools& tools,
                     const std::string& ownDigest) {
  std::string all = text("recipe ", recipeVersion, "\nsource ", sourceDigest, "\nbtf ", btfId, "\nclang ",
                         tools.clangVersion, "\ncc ", tools.compilerVersion, "\n");
  if (!ownDigest.empty()) all += text("own ", ownDigest, "\n");
  return "scx-" + cache::sha256Hex(all).substr(0, 40);
}

std::string schedulerDirectory(const std::string& source) {
  return source + "/tools/sched_ext";
}

std::vector<std::string> schedulersIn(const std::string& source) {
  std::vector<std::string> names;
  const std::filesystem::path directory = schedulerDirectory(source);
  std::error_code missing;
  for (const auto& file : std::filesystem::directory_iterator(directory, missing)) {
    const std::string name = file.path().stem();
    if (file.path().extension() == ".c" && name.starts_with("scx_") &&
        std::filesystem::exists(directory / (name + ".bpf.c"))) {
      names.push_back(name);
    }
  }
  if (names.empty()) {
    throw Error(ExitCode::usage, "sched-ext-missing",
                "this kernel source has no schedulers in tools/sched_ext",
                "sched_ext is in kernels 6.12 and newer; try --kernel debian:7.3");
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> buildEnvironment(const std::string& home) {
  const char* path = std::getenv("PATH");
  return {text("PATH=", path == nullptr ? "/usr/bin:/bin" : path),
          "HOME=" + home,
          "TMPDIR=" + home,
          "SHELL=/bin/sh",
          "USER=ktstr",
          "LOGNAME=ktstr",
          "LC_ALL=C",
          "PYTHONDONTWRITEBYTECODE=1"};
}

Command kitCommand(const Tools& tools, const Layout& layout, unsigned jobs) {
  Command command = makeCommand(tools, layout, jobs);
  command.arguments.push_back(layout.build + "/build/sbin/bpftool");
  return command;
}

Command makeCommand(const Tools& tools, const Layout& layout, unsigned jobs,
                    const std::vector<std::string>& schedulers) {
  std::vector<std::string> arguments{"--no-print-directory",
                                     "-C",
                                     schedulerDirectory(layout.source),
                                     text("-j", jobs),
                                     "CLANG=" + tools.clang,
                                     "LLVM_STRIP=" + tools.llvmStrip,
                                     "VMLINUX_BTF=" + layout.btf,
                                     "O=" + layout.build};
  if (!schedulers.empty()) {
    std::string list = "c-sched-targets=";
    for (const auto& each : schedulers) list += (list.ends_with('=') ? "" : " ") + each;
    arguments.push_back(list);
  }
  return {tools.make, arguments, buildEnvironment(layout.home)};
}

Command linkCommand(const Tools& tools, const Layout& layout, const std::string& scheduler,
                    const std::string& output) {
  const std::string objects = layout.build + "/build/obj/";
  std::vector<std::string> arguments{"-static", "-o", output, objects + "sched_ext/" + scheduler + ".o",
                                     objects + "libbpf/libbpf.a"};
  arguments.insert(arguments.end(), tools.staticLibraries.begin(), tools.staticLibraries.end());
  return {tools.compiler, arguments, buildEnvironment(layout.home)};
}

}  // namespace ktstr::kbuild
