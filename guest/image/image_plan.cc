#include "guest/image/image_plan.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "cache/sha256.h"
#include "guest/image/cpio.h"
#include "guest/image/elf_closure.h"
#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr {

namespace {

constexpr const char* formatVersion = "ktstr-base-1\n";  // changes with anything but the listed files
constexpr size_t longestPath = 255;
constexpr size_t keyDigits = 32;

// Mount points and the like, besides the parents of files.
constexpr const char* fixedDirectories[] = {"/bin",  "/dev", "/etc", "/ktstr", "/ktstr/bin",
                                            "/proc", "/run", "/sys", "/root",  "/tmp"};
constexpr const char* reservedTrees[] = {"/dev/", "/proc/", "/sys/"};

void checkGuestPath(const std::string& path) {
  const auto invalid = [&](const char* reason) {
    throw Error(ExitCode::usage, "image-path-invalid", text("\"", path, "\": ", reason),
                "use an absolute path such as /ktstr/bin/NAME");
  };
  if (!path.starts_with('/') || path.size() < 2 || path.size() > longestPath) {
    invalid("not an absolute path of up to 255 bytes");
  }
  if ((path + "/").find("//") != std::string::npos || (path + "/").find("/./") != std::string::npos ||
      (path + "/").find("/../") != std::string::npos || path.find('\0') != std::string::npos) {
    invalid("has an empty, \".\" or \"..\" component");
  }
  const bool ours = path.starts_with("/ktstr/") && !path.starts_with("/ktstr/bin/");
  const bool reserved = std::any_of(std::begin(reservedTrees), std::end(reservedTrees),
                                    [&](const char* tree) { return path.starts_with(tree); });
  if (ours || reserved) invalid("belongs to the guest itself");
}

PlannedFile openPlanned(const std::string& guestPath, const std::string& hostPath, bool mustBeExecutable) {
  PlannedFile planned{guestPath, hostPath, Fd(open(hostPath.c_str(), O_RDONLY | O_CLOEXEC)), {}};
  const auto fail = [&](const char* name, const std::string& reason, const char* hint) {
    throw Error(ExitCode::usage, name, text(hostPath, " (", guestPath, " in the guest): ", reason), hint);
  };
  if (!planned.file) fail("binary-missing", strerror(errno), "check the path");
  if (fstat(planned.file.get(), &planned.status) != 0 || !S_ISREG(planned.status.st_mode)) {
    fail("binary-missing", "not a regular file", "check the path");
  }
  if (mustBeExecutable && (planned.status.st_mode & 0111) == 0) {
    fail("binary-not-executable", text("mode ", std::oct, planned.status.st_mode & 07777), "chmod +x it");
  }
  return planned;
}

bool inBinDirectory(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = path.substr(0, slash);
  return directory.ends_with("/bin") || directory.ends_with("/sbin");
}

mode_t guestMode(const struct stat& status) {
  return (status.st_mode & 0111) != 0 ? 0755 : 0644;
}

void addDirectories(ImagePlan& plan) {
  std::set<std::string> directories(std::begin(fixedDirectories), std::end(fixedDirectories));
  const auto addParents = [&](const std::string& path) {
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      directories.insert(path.substr(0, slash));
    }
  };
  for (const PlannedFile& file : plan.files) addParents(file.guestPath);
  for (const PlannedLink& link : plan.links) addParents(link.guestPath);
  for (const PlannedFile& file : plan.files) {
    if (directories.contains(file.guestPath)) {
      throw Error(ExitCode::usage, "image-path-invalid", file.guestPath + " is a directory in the guest",
                  "choose another path");
    }
  }
  plan.directories.assign(directories.begin(), directories.end());  // sorted: parents come first
}

std::string shortKey(const std::string& description) {
  return cache::sha256Hex(description).substr(0, keyDigits);
}

// Quotes nothing: a path cannot contain NUL.
std::string linkLines(const ImagePlan& plan) {
  std::string lines;
  for (const PlannedLink& link : plan.links) lines += text("link ", link.guestPath, '\0', link.target, '\n');
  return lines;
}

}  // namespace

ImagePlan planImage(const ImageRequest& request) {
  ImagePlan plan;
  plan.files.push_back(openPlanned("/init", request.agent, true));
  if (!request.busybox.empty()) plan.files.push_back(openPlanned("/bin/busybox", request.busybox, true));
  for (const ImageFile& file : request.files) {
    checkGuestPath(file.guestPath);
    plan.files.push_back(openPlanned(file.guestPath, file.hostPath, inBinDirectory(file.guestPath)));
  }
  std::set<std::string> taken;
  const auto take = [&](const std::string& path) { return taken.insert(path).second; };
  for (const PlannedFile& file : plan.files) {
    if (!take(file.guestPath)) {
      throw Error(ExitCode::usage, "image-path-invalid", file.guestPath + " is given twice",
                  "give each path once");
    }
  }
  ElfClosure closure;
  for (const PlannedFile& file : plan.files) closure.add(file.hostPath, file.guestPath);
  for (const ClosureFile& file : closure.files()) {
    if (!take(file.guestPath)) continue;  // the author gave this library himself
    if (file.linkTarget.empty()) {
      plan.files.push_back(openPlanned(file.guestPath, file.hostPath, false));
    } else {
      plan.links.push_back({file.guestPath, file.linkTarget});
    }
  }
  addDirectories(plan);
  return plan;
}

std::string ImagePlan::statKey() const {
  std::string description = formatVersion;
  for (const PlannedFile& file : files) {
    const struct stat& s = file.status;
    description +=
        text("file ", file.guestPath, '\0', guestMode(s), ' ', s.st_dev, ' ', s.st_ino, ' ', s.st_size, ' ',
             s.st_mtim.tv_sec, '.', s.st_mtim.tv_nsec, ' ', s.st_ctim.tv_sec, '.', s.st_ctim.tv_nsec, '\n');
  }
  return shortKey(description + linkLines(*this));
}

std::string ImagePlan::contentKey() const {
  std::string description = formatVersion;
  for (const PlannedFile& file : files) {
    description += text("file ", file.guestPath, '\0', guestMode(file.status), ' ',
                        cache::sha256OfFile(file.file.get()), '\n');
  }
  return shortKey(description + linkLines(*this));
}

std::vector<std::byte> ImagePlan::archive() const {
  CpioWriter cpio;
  for (const std::string& directory : directories)
    cpio.directory(directory, directory == "/tmp" ? 01777 : 0755);
  cpio.characterDevice("/dev/console", 0600, 5, 1);
  cpio.characterDevice("/dev/null", 0666, 1, 3);
  for (const PlannedFile& file : files) {
    const uint64_t size = fileSize(file.file.get());
    const Mapping content = size == 0 ? Mapping() : Mapping(file.file.get(), 0, size, PROT_READ);
    cpio.file(file.guestPath, guestMode(file.status), content.bytes());
  }
  for (const PlannedLink& link : links) cpio.symlink(link.guestPath, link.target);
  cpio.file("/ktstr/complete", 0444, {});
  return cpio.finish();
}

}  // namespace ktstr
