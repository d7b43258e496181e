#include "guest/agent/channel.h"

#include <capnp/serialize.h>
#include <termios.h>
#include <unistd.h>

#include "protocol/text.h"

namespace ktstr::agent {
namespace {

void fillFailure(const Failure& failure, rpc::GuestFailure::Builder out) {
  out.setName(failure.name);
  out.setMessage(failure.message);
  out.setStep(failure.step);
  out.setCgroup(failure.cgroup);
  out.setWorker(failure.worker);
}

}  // namespace

Channel::Channel(std::span<std::byte> memory, Fd doorbell)
    : mailbox_(memory), doorbell_(std::move(doorbell)) {}

void Channel::drainDoorbell() {
  char bytes[64];
  while (read(doorbell_.get(), bytes, sizeof bytes) > 0) continue;
}

bool Channel::changesWork(rpc::GuestEvent::Reader event) {
  switch (event.which()) {
    case rpc::GuestEvent::STEP_STARTED:
    case rpc::GuestEvent::STEP_ENDED:
    case rpc::GuestEvent::OP_APPLIED:
    case rpc::GuestEvent::SCHEDULER_ATTACHED:
    case rpc::GuestEvent::SCHEDULER_DETACHED:
    case rpc::GuestEvent::SCHEDULER_EXITED:
    case rpc::GuestEvent::PAYLOAD_STARTED:
    case rpc::GuestEvent::PAYLOAD_ENDED:
    case rpc::GuestEvent::BASELINE_STARTED:
      return true;
    default:
      return false;
  }
}

void Channel::stamp(rpc::GuestEvent::Builder event) {
  noteConsumed();
  event.setHostReadBytes(consumed_);
  event.setHostReadSeenNs(consumedSeenNs_);
  event.setAtNs(monotonicNs());
}

// The clock is read after the index: by then the host had read so much.
void Channel::noteConsumed() {
  const uint64_t now = mailbox_.consumed();
  if (now == consumed_) return;
  consumed_ = now;
  consumedSeenNs_ = monotonicNs();
}

void Channel::awaitHost(uint64_t milliseconds) {
  const uint64_t deadline = monotonicNs() + milliseconds * 1'000'000;
  for (noteConsumed(); consumed_ != mailbox_.posted() && monotonicNs() < deadline; noteConsumed())
    usleep(100);
}

// One byte per event. Where the line is so busy that the byte is refused, earlier ones are still on their way
// and will make the host look after this event was posted.
void Channel::ring() {
  if (doorbell_ && write(doorbell_.get(), "!", 1) != 1) return;
}

bool Channel::send(capnp::MessageBuilder& message, uint64_t patience, size_t reserve) {
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  const auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
  const uint64_t deadline = monotonicNs() + (full_ ? 0 : patience);
  while (!mailbox_.fits(bytes.size() + reserve) && monotonicNs() < deadline) usleep(1000);
  full_ = !mailbox_.fits(bytes.size() + reserve);
  if (full_) {
    withheld_++;
  } else {
    mailbox_.post(bytes);
  }
  ring();
  return !full_;
}

void Channel::failure(const Failure& failure) {
  post([&](rpc::GuestEvent::Builder event) { fillFailure(failure, event.initFailure()); });
}

void Channel::done() {
  capnp::MallocMessageBuilder full, last;
  if (dropped() > 0) {
    auto event = full.initRoot<rpc::GuestEvent>();
    stamp(event);
    fillFailure(Failure(FailureName::MAILBOX_FULL, text(dropped(), " events did not fit into the mailbox")),
                event.initFailure());
    send(full, 0, 0);
  }
  auto event = last.initRoot<rpc::GuestEvent>();
  stamp(event);
  event.initDone().setDropped(dropped());
  send(last, patienceNs, 0);
  if (doorbell_) tcdrain(doorbell_.get());
}

bool Channel::postAtOnce(const std::string& log) {
  capnp::MallocMessageBuilder message;
  auto event = message.initRoot<rpc::GuestEvent>();
  stamp(event);
  event.setSchedulerLog(log);
  return send(message, 0);
}

}  // namespace ktstr::agent
