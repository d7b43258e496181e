#include "vmm/tcg/warden.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "protocol/error.h"
#include "protocol/log.h"
#include "protocol/process.h"
#include "protocol/sandbox.h"
#include "protocol/text.h"
#include "vmm/tcg/vcpu_clocks.h"

namespace ktstr::vmm {
namespace {

constexpr size_t kMaxDescriptors = 17;  // standard error and 16 others
constexpr size_t kMaxRequest = 65536;

// First bytes of a request; the arguments follow, each ended by NUL.
struct RequestHeader {
  uint32_t descriptors;
  std::array<int32_t, kMaxDescriptors> numbers;  // in QEMU, in the order of the passed descriptors
};

struct Received {
  std::vector<std::string> arguments;
  std::vector<std::pair<Fd, int>> descriptors;
};

// Nothing when the VMM is gone.
std::optional<Received> receiveRequest(int socket) {
  std::string bytes(kMaxRequest, '\0');
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < static_cast<ssize_t>(sizeof(RequestHeader))) return std::nullopt;
  RequestHeader header;
  memcpy(&header, bytes.data(), sizeof header);
  Received request;
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&message)) {
    std::array<int, kMaxDescriptors> fds{};
    const size_t count = std::min<size_t>(header.descriptors, kMaxDescriptors);
    memcpy(fds.data(), CMSG_DATA(rights), std::min(count * sizeof(int), rights->cmsg_len - CMSG_LEN(0)));
    for (size_t i = 0; i < count; ++i) request.descriptors.emplace_back(Fd(fds[i]), header.numbers[i]);
  }
  for (size_t at = sizeof header; at < static_cast<size_t>(got);) {
    request.arguments.emplace_back(bytes.c_str() + at);
    at += request.arguments.back().size() + 1;
  }
  return request;
}

void tell(int socket, WardenReport::Kind kind, int32_t value, const std::string& why = {}) {
  WardenReport report{};
  report.kind = kind;
  report.value = value;
  why.copy(report.text, sizeof report.text - 1);
  (void)!send(socket, &report, sizeof report, MSG_NOSIGNAL);
}

void tellClocks(int socket, const std::vector<Fd>& clocks) {
  WardenReport report{};
  report.kind = WardenReport::clocks;
  std::array<int, kMaxClocks> fds{};
  const size_t count = clocks.size() <= kMaxClocks ? clocks.size() : 0;
  std::transform(clocks.begin(), clocks.begin() + static_cast<ptrdiff_t>(count), fds.begin(),
                 [](const Fd& fd) { return fd.get(); });
  report.value = static_cast<int32_t>(count);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  iovec part{&report, sizeof report};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * count);
  }
  (void)!sendmsg(socket, &message, MSG_NOSIGNAL);
}

Child launch(const std::string& qemuPath, const Received& request) {
  SpawnOptions options;
  options.executable = qemuPath;
  options.arguments = request.arguments;
  options.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  for (const auto& [fd, number] : request.descriptors) {
    if (number == STDERR_FILENO) {
      options.standardError = fd.get();
    } else {
      options.descriptors.emplace_back(fd.get(), number);
    }
  }
  return spawn(options);
}

// What the warden and, through it, QEMU may not do: gain privilege, dump core, write to files.
void confine() {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  for (const auto& [resource, value] : {std::pair{RLIMIT_CORE, 0}, {RLIMIT_FSIZE, 0}, {RLIMIT_NOFILE, 256}}) {
    const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
    setrlimit(resource, &limit);
  }
}

// Filters are inherited over exec, so the warden locks itself down only after QEMU runs, and opens no file
// then.
void lockDown() {
  Sandbox("ktstr-vmm-tcg warden")
      .allowBasics()
      .allowHeap()
      .allow("poll")
      .allow("ppoll")
      .allow("sendto")
      .allow("kill")
      .allow("pidfd_send_signal")
      .allow("wait4")
      .allow("waitid")
      .allow("shutdown")
      .allow("unlink")
      .allow("close")
      .lockDown();
}

// Until QEMU is there with all its threads, has ended, or the VMM is gone.
void awaitEngine(int socket, const Child& qemu) {
  pollfd events[2] = {{socket, POLLIN, 0}, {qemu.pidfd(), POLLIN, 0}};
  while (poll(events, 2, -1) < 0) continue;
  char asked = 0;
  if (recv(socket, &asked, sizeof asked, MSG_DONTWAIT) != 1 || asked != kAskForClocks) return;
  tellClocks(socket, openVcpuClocks(qemu.pid()));
}

// Until QEMU has ended or the VMM is gone; QEMU has ended then. Returns its wait status.
int guardEngine(int socket, Child& qemu) {
  for (;;) {
    pollfd events[2] = {{socket, POLLIN, 0}, {qemu.pidfd(), POLLIN, 0}};
    if (poll(events, 2, -1) < 0) continue;
    if (events[0].revents != 0) qemu.signal(SIGKILL);
    return qemu.wait();
  }
}

void serveVmm(int socket, const std::string& qemuPath) {
  auto request = receiveRequest(socket);
  if (!request) return;
  confine();
  Child qemu;
  try {
    qemu = launch(qemuPath, *request);
  } catch (const Error& e) {
    tell(socket, WardenReport::failed, 0, e.what());
    return;
  }
  request.reset();
  tell(socket, WardenReport::started, qemu.pid());
  awaitEngine(socket, qemu);
  lockDown();
  const int status = guardEngine(socket, qemu);
  tell(socket, WardenReport::ended, status);
}

[[noreturn]] void wardenMain(int socket, const std::string& qemuPath) {
  setsid();  // signals from the terminal are for the VMM
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ}) signal(number, SIG_IGN);
  prctl(PR_SET_NAME, "ktstr-warden");
  try {
    serveVmm(socket, qemuPath);
  } catch (const std::exception& e) {
    log::error(text("warden: ", e.what()));
  }
  _exit(0);
}

}  // namespace

Fd startWarden(const std::string& qemuPath) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw errnoError("warden-failed", "make a socket pair");
  }
  Fd ours(ends[0]);
  const Fd theirs(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) throw errnoError("warden-failed", "fork the warden");
  if (pid == 0) {
    if (dup2(theirs.get(), 3) < 0) _exit(1);
    close_range(4, ~0U, 0);
    wardenMain(3, qemuPath);
  }
  if (fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0)
    throw errnoError("warden-failed", "F_SETFL on the socket pair");
  return ours;
}

void sendLaunch(int warden, const LaunchRequest& request) {
  RequestHeader header{};
  std::vector<int> fds{request.standardError};
  header.numbers[header.descriptors++] = STDERR_FILENO;
  for (const auto& [fd, number] : request.descriptors) {
    if (header.descriptors == kMaxDescriptors) {
      throw Error(ExitCode::infrastructure, "warden-failed", "too many descriptors");
    }
    fds.push_back(fd);
    header.numbers[header.descriptors++] = number;
  }
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  for (const std::string& argument : request.arguments) bytes.append(argument.c_str(), argument.size() + 1);
  if (bytes.size() > kMaxRequest)
    throw Error(ExitCode::infrastructure, "warden-failed", "command line too long");
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  if (sendmsg(warden, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
    throw errnoError("warden-failed", "send the request to start QEMU to the warden");
  }
}

}  // namespace ktstr::vmm
