#include "kbuild/tools.h"

#include <charconv>
#include <sstream>

#include "kbuild/command.h"
#include "protocol/error.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

std::string versionOf(const std::string& program) {
  const std::string output = outputOf(program, {"--version"});
  return output.substr(0, output.find('\n'));
}

std::string require(const char* program, const char* package) {
  if (auto path = findProgram(program)) return *path;
  throw Error(ExitCode::infrastructure, "build-tool-missing", text(program, " is not in PATH"),
              text("apt-get install ", package));
}

// Names in the order in which they are tried.
std::vector<std::string> suffixes() {
  std::vector<std::string> result;
  for (int version = preferredClang; version < 30; ++version) result.push_back(text("-", version));
  for (int version = preferredClang - 1; version >= oldestClang; --version)
    result.push_back(text("-", version));
  result.emplace_back();
  return result;
}

void findClang(Tools& tools) {
  std::string seen;
  for (const auto& suffix : suffixes()) {
    const auto clang = findProgram("clang" + suffix);
    if (!clang) continue;
    const std::string version = versionOf(*clang);
    const auto strip = findProgram("llvm-strip" + suffix);
    const int major = clangMajor(version).value_or(0);
    if (major >= oldestClang && strip) {
      tools.clang = *clang;
      tools.llvmStrip = *strip;
      tools.clangMajor = major;
      tools.clangVersion = version;
      return;
    }
    seen += text(seen.empty() ? "" : "; ", *clang, " is \"", version, "\"",
                 major < oldestClang ? "" : text(", but there is no llvm-strip", suffix));
  }
  throw Error(ExitCode::infrastructure, "clang-missing",
              text("compiling BPF programs needs clang ", oldestClang,
                   " or newer with its llvm-strip; found ", seen.empty() ? "no clang in PATH" : seen),
              text("apt-get install clang-", preferredClang, " llvm-", preferredClang, ", or `make deps`"));
}

// libelf may need libzstd; only its .pc file knows.
std::vector<std::string> staticLibraries() {
  std::vector<std::string> flags;
  if (const auto pkgConfig = findProgram("pkg-config")) {
    std::istringstream words(outputOf(*pkgConfig, {"--static", "--libs", "libelf", "zlib"}));
    for (std::string word; words >> word;) flags.push_back(word);
  }
  if (flags.empty()) flags = {"-lelf", "-lz"};
  flags.emplace_back("-lpthread");
  return flags;
}

}  // namespace

std::optional<int> clangMajor(std::string_view line) {
  constexpr std::string_view word = "clang version ";
  const size_t at = line.find(word);
  if (at == line.npos) return {};
  line.remove_prefix(at + word.size());
  int major = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), major);
  if (error != std::errc() || end == line.data() + line.size() || *end != '.') return {};
  return major;
}

Tools findTools() {
  Tools tools;
  findClang(tools);
  tools.make = require("make", "make");
  tools.compiler = require("gcc", "gcc");
  tools.linker = require("ld", "binutils");
  tools.python = require("python3", "python3");
  tools.setsid = require("setsid", "util-linux");
  tools.compilerVersion = versionOf(tools.compiler);
  tools.staticLibraries = staticLibraries();
  return tools;
}

}  // namespace ktstr::kbuild
