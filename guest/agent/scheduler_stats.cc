#include "guest/agent/scheduler_stats.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "protocol/text.h"

namespace ktstr::agent {
namespace {

constexpr std::string_view question = "{\"req\":\"stats\",\"args\":{\"target\":\"top\"}}\n";
constexpr uint64_t patienceNs = 500'000'000;
constexpr size_t maxAnswer = 64 << 10;

}  // namespace

void SchedulerStats::look() {
  if (socket_) readAnswer();
  const uint32_t wanted = channel_.statsRequested();
  if (socket_ || wanted == request_) return;
  request_ = wanted;
  ask();
}

void SchedulerStats::ask() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof address.sun_path - 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket || connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return post("", text("the scheduler serves none: ", path_, ": ", strerror(errno)));
  if (send(socket.get(), question.data(), question.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(question.size()))
    return post("", text("ask at ", path_, ": ", strerror(errno)));
  socket_ = std::move(socket);
  answer_.clear();
  deadlineNs_ = monotonicNs() + patienceNs;
}

void SchedulerStats::readAnswer() {
  std::array<char, 4096> buffer;
  ssize_t got = 0;
  while (answer_.size() <= maxAnswer && (got = read(socket_.get(), buffer.data(), buffer.size())) > 0)
    answer_.append(buffer.data(), static_cast<size_t>(got));
  const size_t end = answer_.find('\n');
  if (end != std::string::npos) return post(answer_.substr(0, end), "");
  if (answer_.size() > maxAnswer) return post("", text("its answer has more than ", maxAnswer, " bytes"));
  if (got == 0) return post("", "it closed the connection without an answer");
  if (got < 0 && errno != EAGAIN) return post("", text("read its answer: ", strerror(errno)));
  if (monotonicNs() >= deadlineNs_) post("", text("no answer within ", patienceNs / 1'000'000, " ms"));
}

void SchedulerStats::post(const std::string& answer, const std::string& problem) {
  socket_ = Fd();
  channel_.post([&](rpc::GuestEvent::Builder event) {
    auto stats = event.initSchedulerStats();
    stats.setRequest(request_);
    stats.setAnswer(answer);
    stats.setProblem(problem);
  });
}

}  // namespace ktstr::agent
