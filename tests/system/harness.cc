#include "tests/system/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <thread>

#include "protocol/fd.h"
#include "protocol/file.h"
#include "protocol/json.h"

namespace ktstr::testing {
namespace {

using Clock = std::chrono::steady_clock;

std::string firstLine(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  char pattern[] = "/tmp/ktstr-test-XXXXXX";
  if (mkdtemp(pattern) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::file(const std::string& name, const std::string& content,
                                     unsigned mode) const {
  std::string path = path_ + "/" + name;
  const Fd fd = openFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  writeAll(fd.get(), content);
  chmod(path.c_str(), mode);
  return path;
}

std::string binary(const std::string& name) {
  const char* directory = getenv("KTSTR_BIN_DIR");
  if (directory == nullptr) throw std::runtime_error("KTSTR_BIN_DIR is not set; run through make check");
  return std::string(directory) + "/" + name;
}

Result ktstr(const std::vector<std::string>& words, const Options& options) {
  for (int again = 2;; again--) {
    Result result = Background(words, options).wait(options.timeoutSeconds);
    if (again == 0 || result.out.find("stale-breakpoint") == result.out.npos) return result;
    fprintf(stderr, "again, since the emulator ran a stale breakpoint: %s\n", result.err.c_str());
  }
}

Background::Background(const std::vector<std::string>& words, const Options& options) {
  char pattern[] = "/tmp/ktstr-out-XXXXXX";
  if (mkdtemp(pattern) == nullptr) throw std::runtime_error("mkdtemp failed");
  directory_ = pattern;
  writeAll(openFile(directory_ + "/in", O_WRONLY | O_CREAT, 0600).get(), options.input);
  const std::string program = binary(options.program);
  std::vector<char*> arguments = {const_cast<char*>(program.c_str())};
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    // Who runs the tests in a shell's background has them ignored.
    for (const int number : {SIGINT, SIGQUIT}) ::signal(number, SIG_DFL);
    dup2(open((directory_ + "/in").c_str(), O_RDONLY), 0);
    dup2(open((directory_ + "/out").c_str(), O_WRONLY | O_CREAT, 0600), 1);
    dup2(open((directory_ + "/err").c_str(), O_WRONLY | O_CREAT, 0600), 2);
    for (const auto& variable : options.environment) putenv(const_cast<char*>(variable.c_str()));
    execv(program.c_str(), arguments.data());
    _exit(127);
  }
}

Background::~Background() {
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void Background::signal(int number) const {
  kill(pid_, number);
}

bool Background::waitForStderr(const std::string& text, double seconds) {
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (Clock::now() < end) {
    if (readFileIfThere(directory_ + "/err").value_or("").find(text) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

Result Background::wait(int seconds) {
  const auto start = Clock::now();
  Result result;
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (Clock::now() - start > std::chrono::seconds(seconds)) {
      kill(-pid_, SIGKILL);
      waitpid(pid_, &status, 0);
      result.err = "TIMED OUT\n";
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  pid_ = -1;
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  result.exitCode = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = readFileIfThere(directory_ + "/out", size_t{64} << 20).value_or("");
  result.err += readFileIfThere(directory_ + "/err", size_t{64} << 20).value_or("");
  return result;
}

Record::Record(const std::string& json) : message(std::make_unique<capnp::MallocMessageBuilder>()) {
  fromJson(json, message->initRoot<rpc::RunRecord>());
}

const rpc::RunRecord::Reader* Record::operator->() const {
  reader = message->getRoot<rpc::RunRecord>().asReader();
  return &reader;
}

bool Record::hasFinding(const std::string& name) const {
  for (auto finding : (**this).getVerdict().getFindings()) {
    if (finding.getName() == name) return true;
  }
  return false;
}

std::string Record::findings() const {
  std::string all;
  for (auto finding : (**this).getVerdict().getFindings()) {
    all += std::string(finding.getName().cStr()) + ": " + finding.getMessage().cStr() + "\n" +
           finding.getEvidence().cStr() + "\n";
  }
  return all;
}

std::vector<std::string> Record::snapshots(rpc::DumpReason reason) const {
  std::vector<std::string> names;
  for (const auto snapshot : (**this).getSnapshots()) {
    if (snapshot.getFile().size() > 0 && snapshot.getReason() == reason)
      names.emplace_back(snapshot.getName().cStr());
  }
  return names;
}

std::optional<std::string> Record::trouble() const {
  if (hasFinding("host-starved")) return "the host is starved: " + findings();
  const std::string all = findings();
  const size_t stall = all.rfind("detected stalls on CPUs/tasks:\n");  // said first, then in the evidence
  const bool nobody = stall != std::string::npos &&
                      all.find("(detected by", stall) < all.find('\n', all.find('\n', stall) + 1);
  if (hasFinding("timer-lost") || hasFinding("stale-breakpoint") || nobody)
    return "the emulated machine stalled: " + all;
  return std::nullopt;
}

std::string scenario(const std::string& name) {
  return "tests/scenarios/" + name + ".json";
}

std::optional<std::string> whyNoKernel(const std::string& kernel) {
  static std::map<std::string, std::optional<std::string>> known;
  const auto found = known.find(kernel);
  if (found != known.end()) return found->second;
  const Result got = ktstr({"kernel", "get", kernel}, {.timeoutSeconds = 300});
  return known[kernel] = got.exitCode == 0
                             ? std::optional<std::string>()
                             : "kernel " + kernel + " cannot be had here: " + firstLine(got.err);
}

std::optional<std::string> whyNoScheduler(const std::string& name) {
  static std::map<std::string, std::optional<std::string>> known;
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  const Result got = ktstr({"scheduler", "path", name}, {.timeoutSeconds = 600});
  return known[name] = got.exitCode == 0
                           ? std::optional<std::string>()
                           : "scheduler " + name + " cannot be built here: " + firstLine(got.err);
}

namespace {

const Result& builtScxFault() {
  static const Result result =
      ktstr({"scheduler", "path", "scx_fault", "--with", "tests/schedulers"}, {.timeoutSeconds = 600});
  return result;
}

}  // namespace

std::optional<std::string> whyNoScxFault() {
  const std::string& said = builtScxFault().err;
  for (const char* lack : {"clang-missing", "build-tool-missing", "cache-tool-failed"}) {
    if (said.find(lack) != std::string::npos) return said;
  }
  return std::nullopt;
}

std::string scxFault() {
  const Result& built = builtScxFault();
  if (built.exitCode != 0) throw std::runtime_error(built.err);
  return built.out.substr(0, built.out.find('\n'));
}

std::vector<std::string> descendants() {
  std::map<pid_t, std::pair<pid_t, std::string>> all;  // pid -> parent, comm
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto stat = readFileIfThere(entry.path().string() + "/stat");
    if (!stat) continue;
    const auto close = stat->rfind(')');
    char state = 0;
    int parent = 0;
    if (sscanf(stat->c_str() + close + 1, " %c %d", &state, &parent) != 2 || state == 'Z') continue;
    all[std::stoi(name)] = {parent, stat->substr(stat->find('(') + 1, close - stat->find('(') - 1)};
  }
  std::vector<std::string> found;
  for (const auto& [pid, info] : all) {
    for (pid_t up = info.first; all.count(up) != 0 && up > 1; up = all[up].first) {
      if (up == getpid()) found.push_back(std::to_string(pid) + " " + info.second);
    }
  }
  return found;
}

}  // namespace ktstr::testing
