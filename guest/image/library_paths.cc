#include "guest/image/library_paths.h"

#include <glob.h>
#include <sys/stat.h>

#include <sstream>

#include "protocol/file.h"

namespace ktstr {

namespace {

constexpr int deepestInclude = 8;

std::string trim(const std::string& line) {
  constexpr const char* blanks = " \t\r";
  const size_t first = line.find_first_not_of(blanks);
  if (first == std::string::npos) return "";
  return line.substr(first, line.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

void readConf(const std::string& path, int depth, std::vector<std::string>& directories) {
  if (depth > deepestInclude) return;
  std::istringstream lines(readFileIfThere(path).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    line = trim(line.substr(0, line.find('#')));
    if (line.starts_with("include") && line.find_first_of(" \t") == 7) {
      std::string pattern = trim(line.substr(7));
      if (!pattern.starts_with('/')) pattern.insert(0, path, 0, path.rfind('/') + 1);
      for (const std::string& file : matches(pattern)) readConf(file, depth + 1, directories);
    } else if (line.starts_with('/')) {
      directories.push_back(line);
    }
  }
}

void replaceAll(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

std::string libDirectory() {
  struct stat status {};
  return stat("/lib/x86_64-linux-gnu", &status) == 0 ? "lib/x86_64-linux-gnu" : "lib64";
}

}  // namespace

LibraryPaths systemLibraryPaths() {
  return {readLdSoConf("/etc/ld.so.conf"),
          {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}};
}

std::vector<std::string> readLdSoConf(const std::string& path) {
  std::vector<std::string> directories;
  readConf(path, 0, directories);
  return directories;
}

std::string expandTokens(const std::string& directory, const std::string& origin) {
  std::string expanded = directory;
  if (expanded.find('$') == std::string::npos) return expanded;
  for (const auto& [token, value] : {std::pair<std::string, std::string>{"ORIGIN", origin},
                                     {"LIB", libDirectory()},
                                     {"PLATFORM", "x86_64"}}) {
    replaceAll(expanded, "${" + token + "}", value);
    replaceAll(expanded, "$" + token, value);
  }
  return expanded.find('$') == std::string::npos ? expanded : "";
}

}  // namespace ktstr
