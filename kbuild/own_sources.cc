#include "kbuild/own_sources.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string_view>

#include "cache/sha256.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::kbuild {
namespace {

namespace fs = std::filesystem;

constexpr size_t maxNameBytes = 64;
constexpr size_t maxFileBytes = size_t{1} << 20;
constexpr std::string_view bpfEnding = ".bpf.c", userEnding = ".c", headerEnding = ".h";
constexpr const char* layoutHint =
    "a scheduler is scx_NAME.bpf.c and scx_NAME.c, with its headers beside them";

bool isHeader(std::string_view file) {
  return file.ends_with(headerEnding);
}

bool isOurs(std::string_view file) {
  return isHeader(file) || (file.starts_with("scx_") && file.ends_with(userEnding));
}

std::string stem(std::string_view file) {
  for (const std::string_view ending : {bpfEnding, userEnding, headerEnding}) {
    if (file.ends_with(ending)) return std::string(file.substr(0, file.size() - ending.size()));
  }
  return std::string(file);
}

void checkName(const std::string& directory, const std::string& file) {
  const std::string_view allowed = isHeader(file)
                                       ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
                                       : "abcdefghijklmnopqrstuvwxyz0123456789_";
  const std::string name = stem(file);
  if (name.find_first_not_of(allowed) == std::string::npos && name.size() <= maxNameBytes && name != "scx_")
    return;
  throw Error(ExitCode::usage, "scheduler-name-invalid",
              text("\"", file, "\" in ", directory, " cannot be built under this name"),
              text("a scheduler's name is scx_ and [a-z0-9_], a header's of [A-Za-z0-9_.-], at most ",
                   maxNameBytes, " characters"));
}

using Files = std::map<std::string, fs::path>;

void addDirectory(const std::string& directory, Files& files) {
  std::error_code failed;
  bool any = false;
  for (const auto& entry : fs::directory_iterator(directory, failed)) {
    const std::string name = entry.path().filename();
    if (!isOurs(name) || !entry.is_regular_file()) continue;
    checkName(directory, name);
    const auto [known, isNew] = files.emplace(name, entry.path());
    if (!isNew) {
      throw Error(ExitCode::usage, "scheduler-source-twice",
                  text(known->second.string(), " and ", entry.path().string(), " have the same name"),
                  "all files are laid into one directory: rename one of them");
    }
    any = any || !isHeader(name);
  }
  if (failed) {
    throw Error(ExitCode::usage, "scheduler-source-missing",
                text("cannot read directory ", directory, ": ", failed.message()), layoutHint);
  }
  if (!any) {
    throw Error(ExitCode::usage, "scheduler-source-missing", text("no scheduler in ", directory), layoutHint);
  }
}

std::vector<std::string> wholeSchedulers(const Files& files) {
  std::vector<std::string> schedulers;
  for (const auto& [file, path] : files) {
    if (isHeader(file)) continue;
    const std::string name = stem(file);
    const bool isBpf = file.ends_with(bpfEnding);
    const std::string other = text(name, isBpf ? userEnding : bpfEnding);
    if (files.count(other) == 0) {
      throw Error(ExitCode::usage, "scheduler-source-missing",
                  text(path.string(), " has no ", other, " beside it"), layoutHint);
    }
    if (isBpf) schedulers.push_back(name);
  }
  return schedulers;
}

}  // namespace

OwnSources readOwnSources(const std::vector<std::string>& directories) {
  Files files;
  for (const auto& each : directories) addDirectory(each, files);
  OwnSources sources;
  sources.schedulers = wholeSchedulers(files);
  std::string digests;
  for (const auto& [name, path] : files) {
    sources.files.push_back({name, readFile(path, maxFileBytes)});
    digests += text(name, " ", cache::sha256Hex(sources.files.back().content), "\n");
  }
  sources.digest = cache::sha256Hex(digests);
  return sources;
}

void layOwnSources(const OwnSources& sources, const std::string& directory) {
  for (const auto& file : sources.files) {
    const std::string path = directory + "/" + file.name;
    fs::remove(path);
    writeAll(openFile(path, O_WRONLY | O_CREAT | O_EXCL, 0644).get(), file.content);
  }
}

}  // namespace ktstr::kbuild
