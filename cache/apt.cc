#include "cache/apt.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <sstream>

#include "cache/entry_files.h"
#include "protocol/file.h"
#include "protocol/process.h"
#include "protocol/text.h"

namespace ktstr::cache {
namespace {

namespace fs = std::filesystem;

constexpr time_t maxListAge = 24 * 3600;
constexpr time_t minListAge = 60;
constexpr unsigned maxSilence = 300;  // seconds; apt's own limits come first
constexpr unsigned waitsPerSecond = 5;
constexpr uint64_t minFree = uint64_t{4} << 20;

constexpr std::array archiveSuites = {"bookworm",
                                      "bookworm-updates",
                                      "bookworm-backports",
                                      "trixie",
                                      "trixie-updates",
                                      "trixie-backports",
                                      "forky",
                                      "sid"};
constexpr std::array securitySuites = {"bookworm-security", "trixie-security"};

// Everything that makes apt private, quiet and quick to give up. Hooks of the system's configuration are for
// the system's packages.
constexpr const char* configuration = R"(Dir::Etc::sourcelist "@/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "@";
Dir::State::lists "@/lists";
Dir::Cache "@";
Dir::Cache::archives "@/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "@user";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::Retries "1";
Acquire::http::Timeout "10";
Acquire::https::Timeout "10";
APT::Status-Fd "1";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
)";

time_t ageOf(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? std::time(nullptr) - status.st_mtime : maxListAge * 365;
}

void replaceAll(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

bool isKernelPackage(const std::string& name) {
  if (name.ends_with("-dbg") || name.ends_with("-unsigned")) return false;
  for (const std::string_view prefix :
       {"linux-image-", "linux-binary-", "linux-base-", "linux-modules-", "linux-source-"}) {
    if (name.starts_with(prefix) && name.size() > prefix.size()) {
      return name[prefix.size()] >= '0' && name[prefix.size()] <= '9';
    }
  }
  return false;
}

// "dlstatus:2:15.6063:Retrieving file 2 of 2" (APT::Status-Fd).
void reportStatus(const std::string& line, const std::string& doing, const OnProgress& progress) {
  if (!line.starts_with("dlstatus:")) return;
  const size_t percent = line.find(':', sizeof "dlstatus:" - 1);
  if (percent != line.npos) progress(static_cast<int>(atof(line.c_str() + percent + 1)), doing);
}

Fd lockRoot(const std::string& root, int operation) {
  Fd lock(open((root + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock) throw storageError("cache-unusable", "open " + root + "/lock");
  while (flock(lock.get(), operation) != 0) {
    if (errno != EINTR) throw errnoError("lock-failed", "lock " + root);
  }
  return lock;
}

Error diskFull(const std::string& why) {
  return Error(ExitCode::infrastructure, "disk-full", "apt cannot go on: " + why,
               "free some space, or set KTSTR_CACHE_DIR");
}

Error unavailable(const std::string& what, const std::string& why) {
  if (why.find("No space left") != why.npos || why.find("enough free space") != why.npos)
    return diskFull(why);
  return Error(ExitCode::infrastructure, "kernel-unavailable", what + (why.empty() ? "" : ": " + why),
               "check the network; kernels that are cached (`ktstr kernel list`) need none");
}

}  // namespace

// Returns when there is something to read. apt waits for ever when its disk is full, so this looks after the
// disk, also while apt still has something to say.
void Apt::waitForOutput(int fd) const {
  for (unsigned waits = 0;; ++waits) {
    struct statvfs disk {};
    if (statvfs(root_.c_str(), &disk) == 0 && disk.f_bavail * disk.f_frsize < minFree) {
      throw diskFull(text("less than ", minFree >> 20, " MiB are left"));
    }
    pollfd event{fd, POLLIN, 0};
    if (poll(&event, 1, 1000 / waitsPerSecond) > 0) return;
    if (waits > maxSilence * waitsPerSecond) {
      throw unavailable("apt", text("no sign of life for ", maxSilence, " s"));
    }
  }
}

// Half-done downloads, which would keep a full disk full.
void Apt::removePartials() const {
  std::error_code ignored;
  for (const char* directory : {"/lists/partial", "/archives"}) {
    for (const auto& item : fs::directory_iterator(root_ + directory, ignored)) fs::remove_all(item, ignored);
  }
  fs::create_directories(root_ + "/archives/partial", ignored);
}

Apt::Outcome Apt::run(const std::string& program, std::vector<std::string> arguments,
                      const OnLine& onLine) const {
  const auto executable = findProgram(program);
  if (!executable) {
    throw Error(ExitCode::infrastructure, "apt-missing", "there is no " + program + " in PATH",
                "debian:VERSION needs a Debian system; give a path to a vmlinuz instead");
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw errnoError("spawn-failed", "make a pipe");
  const Fd in(ends[0]);
  Fd out(ends[1]);
  SpawnOptions options;
  options.executable = *executable;
  options.arguments = std::move(arguments);
  options.standardOutput = out.get();
  options.standardError = out.get();
  Child child = spawn(options);
  out.reset();

  Outcome outcome{0, "", false};
  std::string pending;
  char buffer[65536];
  for (;;) {
    waitForOutput(in.get());
    const ssize_t got = read(in.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    pending.append(buffer, static_cast<size_t>(got));
    size_t start = 0;
    for (size_t end; (end = pending.find('\n', start)) != pending.npos; start = end + 1) {
      const std::string line = pending.substr(start, end - start);
      if (line.starts_with("E: ") && outcome.errors.empty()) outcome.errors = line.substr(3);
      if (line.starts_with("Get:") || line.starts_with("Hit:")) outcome.fetched = true;
      onLine(line);
    }
    pending.erase(0, start);
  }
  outcome.status = child.wait();
  return outcome;
}

Apt::Outcome Apt::runPrivate(const std::string& program, std::vector<std::string> arguments,
                             const OnLine& onLine) const {
  arguments.insert(arguments.begin(), {"-q", "-c", root_ + "/apt.conf"});
  return run(program, std::move(arguments), onLine);
}

// apt-get, with its progress, leaving nothing half done on a full disk.
Apt::Outcome Apt::fetch(std::vector<std::string> arguments, const std::string& doing,
                        const OnProgress& progress) const {
  try {
    Outcome outcome = runPrivate("apt-get", std::move(arguments),
                                 [&](const std::string& line) { reportStatus(line, doing, progress); });
    if (const Error error = unavailable(doing, outcome.errors); error.name() == "disk-full") throw error;
    return outcome;
  } catch (const Error& error) {
    if (error.name() == "disk-full") removePartials();
    throw;
  }
}

// The root with its configuration; sources.list as the system's mirror is now.
void Apt::prepare() {
  if (prepared_) return;
  setenv("LC_ALL", "C", 1);
  std::error_code error;
  for (const char* directory : {"lists/partial", "archives/partial"}) {
    fs::create_directories(root_ + "/" + directory, error);
    if (error) throw storageError("cache-unusable", text("make ", root_, "/", directory), error.value());
  }
  std::vector<std::string> targets;
  run("apt-get", {"indextargets", "--format", "$(REPO_URI) $(COMPONENT) $(CREATED_BY) $(RELEASE) $(ORIGIN)"},
      [&](const std::string& line) { targets.push_back(line); });
  std::string keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
  if (!fs::exists(keyring)) keyring.clear();
  const std::string sources = sourcesList(targets, keyring);
  if (sources.empty()) {
    throw Error(ExitCode::infrastructure, "debian-mirror-missing",
                "the system's apt knows no Debian mirror: none of its " + text(targets.size()) +
                    " index targets is main of a Debian suite",
                "run `apt-get update` once, or give a path to a vmlinuz instead of debian:VERSION");
  }
  std::string config = configuration;
  replaceAll(config, "@user", geteuid() == 0 ? "root" : "");
  replaceAll(config, "@", root_);
  const Fd lock = lockRoot(root_, LOCK_EX);
  for (const auto& [name, content] : {std::pair("/sources.list", sources), std::pair("/apt.conf", config)}) {
    if (readFileIfThere(root_ + name) == content) continue;
    writeAll(openFile(root_ + name, O_WRONLY | O_CREAT | O_TRUNC, 0644).get(), content);
  }
  prepared_ = true;
}

void Apt::update(bool fresh, const OnProgress& progress) {
  const std::string stamp = root_ + "/updated";
  const Fd lock = lockRoot(root_, LOCK_EX);  // whoever waited here finds fresh lists
  const time_t age = ageOf(stamp);
  if (age < (fresh ? minListAge : maxListAge)) return;
  constexpr const char* doing = "package lists of all Debian suites";
  progress(0, doing);
  // Without a network there is nothing to wait for; where anything was got, what failed is worth another try.
  Outcome outcome = fetch({"update", "-o", "Acquire::Retries=0"}, doing, progress);
  if (outcome.status != 0 && outcome.fetched) outcome = fetch({"update"}, doing, progress);
  if (outcome.fetched) {
    openFile(stamp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    utimensat(AT_FDCWD, stamp.c_str(), nullptr, 0);
  } else if (age > maxListAge * 364) {
    throw unavailable("the package lists cannot be got", outcome.errors);
  } else {
    progress(-1, text("package lists cannot be renewed (", outcome.errors, "): using those of ", age / 3600,
                      " hours ago"));
  }
}

std::vector<DebianPackage> Apt::packages(bool fresh, const OnProgress& progress) {
  prepare();
  update(fresh, progress);
  const Fd lock = lockRoot(root_, LOCK_SH);
  std::vector<std::string> show = {"show"};
  runPrivate("apt-cache", {"pkgnames", "linux-"}, [&](const std::string& line) {
    if (isKernelPackage(line)) show.push_back(line);
  });
  if (show.size() == 1) throw unavailable("the package lists name no kernel at all", "");
  ControlParser parser;
  runPrivate("apt-cache", show, [&](const std::string& line) { parser.line(line); });
  return parser.finish();
}

std::vector<std::string> Apt::download(const std::vector<DebianPackage>& packages,
                                       const OnProgress& progress) {
  prepare();
  const Fd lock = lockRoot(root_, LOCK_SH);
  std::vector<std::string> arguments = {"download"};
  std::vector<std::string> paths;
  std::string doing = "download";
  for (const DebianPackage& package : packages) {
    arguments.push_back(package.name + "=" + package.version);
    doing += " " + package.name;
    std::string epochless = package.version;
    replaceAll(epochless, ":", "%3a");
    const bool all = package.name.starts_with("linux-source-");
    paths.push_back(text(root_, "/archives/", package.name, "_", epochless, all ? "_all.deb" : "_amd64.deb"));
  }
  if (chdir((root_ + "/archives").c_str()) != 0) throw errnoError("cache-unusable", "enter " + root_);
  progress(0, doing);
  const Outcome outcome = fetch(arguments, doing, progress);
  const bool complete = std::all_of(paths.begin(), paths.end(), [](const auto& p) { return fs::exists(p); });
  if (outcome.status == 0 && complete) return paths;
  throw unavailable(doing, outcome.errors.empty() ? describeWaitStatus(outcome.status) : outcome.errors);
}

void ControlParser::line(const std::string& text) {
  const auto value = [&](std::string_view field) -> std::optional<std::string> {
    return text.starts_with(field) ? std::optional(text.substr(field.size())) : std::nullopt;
  };
  if (text.empty()) return endParagraph();
  if (auto name = value("Package: ")) {
    endParagraph();
    current_.name = *name;
  } else if (auto version = value("Version: ")) {
    current_.version = *version;
  } else if (auto depends = value("Depends: ")) {
    current_.onlyDepends = depends->find("linux-binary-") != depends->npos;
  }
}

void ControlParser::endParagraph() {
  if (!current_.name.empty() && !current_.version.empty()) packages_.push_back(current_);
  current_ = {};
}

std::vector<DebianPackage> ControlParser::finish() {
  endParagraph();
  return std::move(packages_);
}

std::string sourcesList(const std::vector<std::string>& indexTargets, const std::string& keyring) {
  std::string archive;
  std::string security;
  for (const std::string& target : indexTargets) {
    std::istringstream words(target);
    std::string uri, component, createdBy, release, origin;
    words >> uri >> component >> createdBy >> release >> origin;
    if (component != "main" || createdBy != "Packages" || origin != "Debian") continue;
    std::string& mirror = release.ends_with("-security") ? security : archive;
    if (mirror.empty()) mirror = uri;
  }
  if (archive.empty()) return {};
  std::string list;
  const auto add = [&](const std::string& uri, const char* suite) {
    list += text("deb ", keyring.empty() ? "" : "[signed-by=" + keyring + "] ", uri, " ", suite, " main\n");
  };
  for (const char* suite : archiveSuites) add(archive, suite);
  for (const char* suite : securitySuites) {
    if (!security.empty()) add(security, suite);
  }
  return list;
}

}  // namespace ktstr::cache
