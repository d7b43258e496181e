#include "guest/image/elf_closure.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr size_t mostObjects = 1024;

std::string directoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string normal(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().string();
}

std::string canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path result = std::filesystem::canonical(path, error);
  if (error)
    throw Error(ExitCode::usage, "binary-missing", text(path, ": ", error.message()), "check the path");
  return result.string();
}

bool isRegularFile(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

// Calls `use` with the file's bytes.
template <typename Use>
auto withFile(const std::string& path, Use use) {
  const Fd fd = openFile(path, O_RDONLY);
  const uint64_t size = fileSize(fd.get());
  if (size == 0) return use(std::span<const std::byte>());
  const Mapping mapping(fd.get(), 0, size, PROT_READ);
  return use(std::span<const std::byte>(mapping.bytes()));
}

ElfNeeds needsOf(const std::string& path, std::span<const std::byte> bytes) {
  try {
    return readElfNeeds(bytes);
  } catch (const Error& error) {
    throw Error(error.code(), error.name(), path + ": " + error.message(), error.hint());
  }
}

}  // namespace

void ElfClosure::add(const std::string& hostPath, const std::string& guestPath) {
  const std::string host = canonical(hostPath);
  std::vector<Object> objects;
  withFile(host, [&](std::span<const std::byte> bytes) {
    if (!isElfFile(bytes)) return;
    if (!isGuestArchitecture(bytes)) {
      throw Error(ExitCode::usage, "binary-wrong-architecture",
                  hostPath + " is an ELF file, but not for x86-64", "build it for x86-64");
    }
    objects.push_back({host, guestPath, needsOf(host, bytes), -1});
  });
  if (objects.empty()) return;
  const std::string interpreter = objects[0].needs.interpreter;
  std::string linkerDirectory;
  if (!interpreter.empty()) {
    if (!interpreter.starts_with('/') || !isRegularFile(interpreter)) {
      throw Error(ExitCode::usage, "library-missing",
                  text("\"", interpreter, "\", the interpreter of ", hostPath, ", is not there"),
                  "install it, or link the program statically");
    }
    put(interpreter, normal(interpreter));
    linkerDirectory = directoryOf(canonical(interpreter));
  }
  std::set<std::string> loaded;
  for (size_t user = 0; user < objects.size(); user++) {
    const std::vector<std::string> needed = objects[user].needs.needed;
    for (const std::string& name : needed) {
      if (!loaded.insert(name).second) continue;
      if (objects.size() >= mostObjects) {
        throw Error(ExitCode::usage, "binary-invalid",
                    text(hostPath, ": more than ", mostObjects, " libraries"));
      }
      objects.push_back(find(objects, static_cast<int>(user), name, linkerDirectory));
    }
  }
}

ElfClosure::Object ElfClosure::find(const std::vector<Object>& objects, int user, const std::string& name,
                                    const std::string& linkerDirectory) {
  std::vector<Place> places;
  if (name.find('/') == std::string::npos) {
    places = searchPlaces(objects, user, linkerDirectory);
  } else if (name.starts_with('/')) {
    places = {{directoryOf(name), directoryOf(name), "named in full"}};
  }
  const std::string file = name.substr(name.rfind('/') + 1);
  std::string searched;
  for (const Place& place : places) {
    const std::string hostPath = normal(place.hostDirectory + "/" + file);
    searched += text(searched.empty() ? "" : ", ", place.hostDirectory, " (", place.why, ")");
    if (!isRegularFile(hostPath)) continue;
    Object found{hostPath, normal(place.guestDirectory + "/" + file), {}, user};
    const bool fits = withFile(hostPath, [&](std::span<const std::byte> bytes) {
      if (!isElfFile(bytes) || !isGuestArchitecture(bytes)) return false;
      found.needs = needsOf(hostPath, bytes);
      return true;
    });
    if (!fits) {
      searched += ": there, but not for x86-64";
      continue;
    }
    put(found.hostPath, found.guestPath);
    return found;
  }
  std::string chain = objects[static_cast<size_t>(user)].hostPath;
  for (int o = objects[static_cast<size_t>(user)].loader; o >= 0;
       o = objects[static_cast<size_t>(o)].loader) {
    chain += ", which is needed by " + objects[static_cast<size_t>(o)].hostPath;
  }
  throw Error(ExitCode::usage, "library-missing",
              text(name, ", needed by ", chain, ", was not found; searched ",
                   searched.empty() ? "nowhere" : searched),
              "install the library, or link the program statically");
}

void ElfClosure::addRunPath(const Object& object, const std::vector<std::string>& path, const char* why,
                            std::vector<Place>& places) {
  for (const std::string& directory : path) {
    const std::string host = expandTokens(directory, directoryOf(object.hostPath));
    const std::string guest = expandTokens(directory, directoryOf(object.guestPath));
    if (host.starts_with('/') && guest.starts_with('/')) places.push_back({normal(host), normal(guest), why});
  }
}

// ld.so(8): RUNPATH of the user alone, or else RPATH of the user and its loaders; then ld.so.cache; then
// defaults.
std::vector<ElfClosure::Place> ElfClosure::searchPlaces(const std::vector<Object>& objects, int user,
                                                        const std::string& linkerDirectory) {
  std::vector<Place> places;
  const Object& object = objects[static_cast<size_t>(user)];
  if (!object.needs.runpath.empty()) {
    addRunPath(object, object.needs.runpath, "RUNPATH", places);
  } else {
    for (int o = user; o >= 0; o = objects[static_cast<size_t>(o)].loader) {
      const Object& loader = objects[static_cast<size_t>(o)];
      if (loader.needs.runpath.empty()) addRunPath(loader, loader.needs.rpath, "RPATH", places);
    }
  }
  for (const std::string& directory : paths_.configured) {
    const bool known =
        std::find(paths_.defaults.begin(), paths_.defaults.end(), directory) != paths_.defaults.end();
    places.push_back(
        {directory, known || linkerDirectory.empty() ? directory : linkerDirectory, "ld.so.conf"});
  }
  for (const std::string& directory : paths_.defaults) places.push_back({directory, directory, "default"});
  return places;
}

void ElfClosure::put(const std::string& hostPath, const std::string& guestPath) {
  const std::string real = canonical(hostPath);
  const auto [known, isNewPath] = canonicalOf_.emplace(guestPath, real);
  if (!isNewPath && known->second != real) {
    throw Error(ExitCode::usage, "library-conflict",
                text(real, " and ", known->second, " would both be ", guestPath, " in the guest"),
                "link one of the programs statically");
  }
  if (!isNewPath) return;
  const bool samePlace = normal(hostPath) == guestPath;
  const auto [content, isNewContent] = guestPathOf_.emplace(real, samePlace ? real : guestPath);
  if (isNewContent) {
    canonicalOf_.emplace(content->second, real);
    files_.push_back({content->second, real, ""});
  }
  if (guestPath != content->second) files_.push_back({guestPath, "", content->second});
}

}  // namespace ktstr
