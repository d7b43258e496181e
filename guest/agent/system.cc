#include "guest/agent/system.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "guest/agent/failure.h"
#include "guest/topology.h"
#include "protocol/file.h"
#include "protocol/text.h"

namespace ktstr::agent {
namespace {

// True: mounted, or was already.
bool mountAt(const char* type, const char* path, const char* options = nullptr) {
  mkdir(path, 0755);
  return mount(type, path, type, 0, options) == 0 || errno == EBUSY;
}

void requireMount(const char* type, const char* path, const char* options = nullptr) {
  if (mountAt(type, path, options)) return;
  throw Failure(FailureName::MOUNT_FAILED, withErrno(text("mount ", type, " on ", path), errno));
}

bool parseHex(std::string_view digits, uint64_t& value) {
  if (!digits.starts_with("0x")) return false;
  const char* end = digits.data() + digits.size();
  const auto result = std::from_chars(digits.data() + 2, end, value, 16);
  return result.ec == std::errc() && result.ptr == end;
}

}  // namespace

CommandLine parseCommandLine(std::string_view line) {
  CommandLine result;
  while (!line.empty()) {
    const size_t end = std::min(line.find_first_of(" \n"), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    if (word.starts_with("ktstr.inject=")) result.inject = word.substr(13);
    if (word == "ktstr.late_cpus") result.lateCpus = true;
    if (!word.starts_with("ktstr.mailbox=")) continue;
    const std::string_view place = word.substr(14);
    const size_t comma = std::min(place.find(','), place.size());
    if (!parseHex(place.substr(0, comma), result.mailboxGpa) ||
        !parseHex(place.substr(std::min(comma + 1, place.size())), result.mailboxSize) ||
        result.mailboxGpa % 4096 != 0 || result.mailboxSize == 0 || result.mailboxSize > uint64_t{1} << 30) {
      throw Failure(FailureName::ORDERS_INVALID, text('"', word, "\" is not ktstr.mailbox=0xGPA,0xSIZE"));
    }
  }
  if (result.mailboxSize == 0) {
    throw Failure(FailureName::ORDERS_INVALID, "no ktstr.mailbox=0xGPA,0xSIZE on the kernel command line");
  }
  return result;
}

void mountFirst() {
  requireMount("proc", "/proc");
  requireMount("devtmpfs", "/dev");
}

void mountRest() {
  requireMount("sysfs", "/sys");
  requireMount("tmpfs", "/tmp");
  requireMount("tmpfs", "/run");
  requireMount("cgroup2", "/sys/fs/cgroup");
  mountAt("bpf", "/sys/fs/bpf");
  mountAt("debugfs", "/sys/kernel/debug");
  mountAt("tracefs", "/sys/kernel/tracing");
}

void checkImage(const std::string& directory, const std::string& runId) {
  const std::string last = directory + "/complete";
  if (access(last.c_str(), F_OK) != 0) {
    throw Failure(FailureName::IMAGE_INCOMPLETE,
                  text(last, ", the image's last file, is missing: the image was cut off"));
  }
  std::string run = readFileIfThere(directory + "/run").value_or("");
  while (!run.empty() && run.back() == '\n') run.pop_back();
  if (run == runId) return;
  throw Failure(FailureName::IMAGE_INCOMPLETE,
                text(directory, "/run says \"", run, "\", the orders are for run \"", runId, '"'));
}

Mapping mapMailbox(const CommandLine& line) {
  const Fd memory = openFile("/dev/mem", O_RDWR);  // without O_SYNC: EAGAIN otherwise
  Mapping mailbox(memory.get(), line.mailboxGpa, line.mailboxSize, PROT_READ | PROT_WRITE);
  madvise(mailbox.data(), mailbox.size(), MADV_DONTFORK);
  return mailbox;
}

Fd openDoorbell(const char* path) {
  Fd line(open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  termios settings{};
  if (!line || tcgetattr(line.get(), &settings) != 0) return {};
  cfmakeraw(&settings);
  settings.c_cflag |= CLOCAL | CREAD;
  cfsetspeed(&settings, B115200);
  tcsetattr(line.get(), TCSANOW, &settings);
  return line;
}

void raiseOwnPriority() {
  sched_param priority{};
  priority.sched_priority = 99;
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority) != 0) {
    throw Failure(FailureName::INTERNAL, withErrno("become SCHED_FIFO 99", errno));
  }
}

void bringCpusOnline() {
  const std::string cpus = "/sys/devices/system/cpu/";
  std::string present = readFile(cpus + "present");
  present.resize(std::min(present.size(), present.find('\n')));
  for (const uint32_t cpu : parseCpuList(present)) {
    const std::string path = text(cpus, "cpu", cpu, "/online");
    if (readFileIfThere(path).value_or("1").starts_with('1')) continue;  // the first has no such file
    const Fd online(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!online || write(online.get(), "1", 1) != 1) {
      throw Failure(FailureName::SETTING_REFUSED, withErrno("write 1 to " + path, errno));
    }
  }
}

void countForMonitor() {
  for (const char* path : {"/proc/sys/kernel/bpf_stats_enabled", "/proc/sys/kernel/sched_schedstats"}) {
    const Fd sysctl(open(path, O_WRONLY | O_CLOEXEC));
    [[maybe_unused]] const ssize_t written = sysctl ? write(sysctl.get(), "1", 1) : 0;
  }
}

uint32_t uptimeMs() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

void reset() {
  sync();
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

}  // namespace ktstr::agent
