#include "cache/kernel.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "cache/kernel_image.h"
#include "cache/sha256.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

constexpr const char* kind = "kernel";
constexpr const char* forms =
    "use debian:7.3, debian:6.18.15, debian:7.3:generic, or a path to a vmlinuz or vmlinux such as ./vmlinuz";
constexpr size_t maxImage = size_t{1} << 30;

Error invalidSpec(std::string_view spec, const std::string& why) {
  return Error(ExitCode::usage, "kernel-spec-invalid", text("\"", spec, "\" is no kernel: ", why), forms);
}

Error notCached(const std::string& spec) {
  return Error(ExitCode::usage, "kernel-not-cached", spec + " is not in the cache",
               "get it: ktstr kernel get " + spec);
}

bool isVersion(std::string_view version) {
  bool digit = false;
  for (const char c : version) {
    if (c == '.' && !digit) return false;
    if (c != '.' && (c < '0' || c > '9')) return false;
    digit = c != '.';
  }
  return digit && version.size() <= 32;
}

// What a file looked like when its content was digested; a name for an alias to its entry.
std::string fileIdentity(int fd, const std::string& path) {
  struct stat status {};
  if (fstat(fd, &status) != 0) throw errnoError("stat-failed", "stat " + path);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ExitCode::usage, "kernel-file-missing", path + " is not a regular file", forms);
  }
  const auto ns = [](const timespec& t) { return text(t.tv_sec, ".", t.tv_nsec); };
  return "file-" + sha256Hex(text(path, " ", status.st_dev, " ", status.st_ino, " ", status.st_size, " ",
                                  ns(status.st_mtim), " ", ns(status.st_ctim)));
}

Fd openKernelFile(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd) return fd;
  throw Error(ExitCode::usage, "kernel-file-missing", errnoError("", "open " + path).message(), forms);
}

std::string contentKey(int fd) {
  return "sha256-" + sha256OfFile(fd);
}

// The key that a path's file has now; digested only if it changed since the last time.
std::string keyOfFile(const Store& store, int fd, const std::string& path) {
  const std::string identity = fileIdentity(fd, path);
  if (auto key = store.alias(kind, identity)) return *key;
  std::string key = contentKey(fd);
  store.setAlias(kind, identity, key);
  return key;
}

bool isDebian(const Entry& entry, const KernelSpec& spec) {
  const auto facts = entry.record().getKernel();
  return facts.getSource() == "debian" && facts.getFlavour() == spec.flavour.c_str();
}

// Cached kernels whose version is exactly the spec's, whatever they were asked for as.
std::optional<std::string> keyOfExactVersion(const Store& store, const KernelSpec& spec) {
  for (const Entry& entry : store.list(kind)) {
    if (isDebian(entry, spec) && entry.record().getKernel().getVersion() == spec.version.c_str()) {
      return entry.key();
    }
  }
  return std::nullopt;
}

}  // namespace

std::string KernelSpec::text() const {
  if (source == Source::path) return path;
  return "debian:" + version + (flavour == "cloud" ? "" : ":" + flavour);
}

KernelSpec parseKernelSpec(std::string_view spec) {
  if (spec.find('/') != spec.npos || spec.starts_with('.')) {
    const auto path = std::filesystem::absolute(std::string(spec)).lexically_normal();
    return {KernelSpec::Source::path, "", "", path};
  }
  constexpr std::string_view debian = "debian:";
  if (!spec.starts_with(debian))
    throw invalidSpec(spec, "it is neither debian:VERSION nor a path with a '/'");
  std::string_view version = spec.substr(debian.size());
  std::string_view flavour = "cloud";
  if (const size_t colon = version.find(':'); colon != version.npos) {
    flavour = version.substr(colon + 1);
    version = version.substr(0, colon);
  }
  if (!isVersion(version)) throw invalidSpec(spec, text("\"", version, "\" is no version"));
  if (flavour != "cloud" && flavour != "generic" && flavour != "rt") {
    throw invalidSpec(spec, text("flavour \"", flavour, "\" is not cloud, generic or rt"));
  }
  return {KernelSpec::Source::debian, std::string(version), std::string(flavour), ""};
}

bool versionMatches(std::string_view wanted, std::string_view version) {
  if (!version.starts_with(wanted)) return false;
  const char next = version.size() == wanted.size() ? '.' : version[wanted.size()];
  return next < '0' || next > '9';
}

int compareVersions(std::string_view a, std::string_view b) {
  while (!a.empty() || !b.empty()) {
    const auto component = [](std::string_view& rest) {
      const size_t dot = std::min(rest.find('.'), rest.size());
      long value = -1;
      std::from_chars(rest.data(), rest.data() + dot, value);
      rest.remove_prefix(std::min(rest.size(), dot + 1));
      return value;
    };
    const long left = component(a);
    const long right = component(b);
    if (left != right) return left < right ? -1 : 1;
  }
  return 0;
}

std::optional<Entry> findKernelIfThere(const Store& store, const KernelSpec& spec,
                                       const Store::OnCorrupt& onCorrupt) {
  std::optional<std::string> key;
  if (spec.source == KernelSpec::Source::path) {
    key = keyOfFile(store, openKernelFile(spec.path).get(), spec.path);
  } else {
    key = store.alias(kind, asName(spec.text()));
    if (!key) key = keyOfExactVersion(store, spec);
  }
  return key ? store.find(kind, *key, onCorrupt) : std::nullopt;
}

Entry findKernel(const Store& store, std::string_view spec) {
  const KernelSpec parsed = parseKernelSpec(spec);
  if (auto entry = findKernelIfThere(store, parsed)) return *entry;
  throw notCached(parsed.text());
}

std::vector<Entry> listKernels(const Store& store) {
  std::vector<Entry> entries = store.list(kind);
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return compareVersions(a.record().getKernel().getVersion().cStr(),
                           b.record().getKernel().getVersion().cStr()) > 0;
  });
  return entries;
}

void removeKernel(const Store& store, std::string_view spec) {
  const KernelSpec parsed = parseKernelSpec(spec);
  const auto ignore = [](const Error&) {};  // quarantining it removes it as well
  const auto entry = findKernelIfThere(store, parsed, ignore);
  if (!entry || !store.remove(kind, entry->key())) throw notCached(parsed.text());
}

void addMissing(rpc::KernelFacts::Builder facts, const std::string& what) {
  std::vector<std::string> all;
  for (const auto item : facts.getMissing()) all.push_back(item.cStr());
  all.push_back(what);
  auto list = facts.initMissing(static_cast<unsigned>(all.size()));
  for (unsigned i = 0; i < all.size(); ++i) list.set(i, all[i]);
}

void fillKernel(Draft& draft, std::string_view image) {
  const Bytes bytes = std::as_bytes(std::span(image));
  std::vector<std::byte> extracted;
  Bytes vmlinux = bytes;
  auto facts = draft.kernel();
  if (isElf(bytes)) {
    addMissing(facts, "vmlinuz: the source is a vmlinux");
  } else {
    extracted = extractVmlinux(bytes);
    vmlinux = extracted;
    draft.write("vmlinuz", bytes);
  }
  const KernelElf elf = parseKernelElf(vmlinux);
  draft.write("vmlinux", vmlinux);

  const std::string release = findRelease(vmlinux).value_or("");
  facts.setRelease(release);
  facts.setVersion(release.substr(0, release.find_first_not_of("0123456789.")));
  facts.setBuildId(elf.buildId.value_or(""));
  if (release.empty()) addMissing(facts, "release: the image has no \"Linux version\" banner");
  if (!elf.buildId) addMissing(facts, "build id: the image has no GNU build id note");
  if (!elf.btf) {
    addMissing(facts, "btf: the kernel has no .BTF section (CONFIG_DEBUG_INFO_BTF is not set)");
    return;
  }
  try {
    facts.setHasSchedExt(hasSchedExt(*elf.btf));
    facts.setHasBtf(true);
    draft.write("btf", *elf.btf);
  } catch (const Error& error) {
    if (error.name() != "kernel-btf-invalid") throw;
    addMissing(facts, "btf: " + error.message());
  }
}

Entry addKernelFile(const Store& store, const KernelSpec& spec, const Store::OnCorrupt& onCorrupt) {
  const Fd file = openKernelFile(spec.path);
  const std::string key = keyOfFile(store, file.get(), spec.path);
  return store.findOrMake(
      kind, key,
      [&](Draft& draft) {
        const std::string image = readAll(file.get(), maxImage);
        if ("sha256-" + sha256Hex(image) != key) {
          throw Error(ExitCode::usage, "kernel-file-changed", spec.path + " changed while it was read",
                      "run again when nobody writes it");
        }
        auto facts = draft.kernel();
        facts.setSpec(spec.path);
        facts.setSource("path");
        fillKernel(draft, image);
        addMissing(facts, "config: a file alone does not say");
        addMissing(facts, "modules: a file alone has none");
      },
      onCorrupt);
}

}  // namespace ktstr::cache
