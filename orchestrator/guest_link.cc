#include "orchestrator/guest_link.h"

#include <capnp/serialize.h>
#include <unistd.h>

#include <cstring>

#include "protocol/error.h"
#include "protocol/json.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr size_t chunk = 4096;

// A guest message is at most the ring's size; deeper nesting or more traversal than that is not ours.
capnp::ReaderOptions guestReaderOptions() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 1 << 20;
  options.nestingLimit = 16;
  return options;
}

kj::Promise<void> forEachChunk(kj::Own<kj::AsyncInputStream> stream,
                               const std::function<void(std::string_view)>& take) {
  auto buffer = kj::heapArray<char>(chunk);
  auto& input = *stream;
  auto reading = input.tryRead(buffer.begin(), 1, buffer.size());
  return reading.then(
      [stream = kj::mv(stream), buffer = kj::mv(buffer), take](size_t got) mutable -> kj::Promise<void> {
        if (got == 0) return kj::READY_NOW;
        take(std::string_view(buffer.begin(), got));
        return forEachChunk(kj::mv(stream), take);
      },
      [](kj::Exception&&) -> kj::Promise<void> { return kj::READY_NOW; });  // a reset stream is a closed one
}

}  // namespace

struct GuestLink::Message {
  explicit Message(const std::vector<std::byte>& bytes)
      : words(copy(bytes)), reader(words, guestReaderOptions()) {}

  static kj::Array<capnp::word> copy(const std::vector<std::byte>& bytes) {
    auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
    memcpy(words.begin(), bytes.data(), bytes.size());
    return words;
  }

  kj::Array<capnp::word> words;
  capnp::FlatArrayMessageReader reader;
};

GuestLink::GuestLink(Mapping mailbox, std::span<const std::byte> orders, PendingRecord& record,
                     OnEvent onEvent)
    : memory_(std::move(mailbox)),
      mailbox_(memory_.bytes(), orders),
      record_(record),
      onEvent_(std::move(onEvent)) {}

GuestLink::~GuestLink() = default;

kj::Promise<void> GuestLink::pump(kj::AsyncIoProvider& provider, kj::LowLevelAsyncIoProvider& io, Fd console,
                                  Fd doorbell) {
  constexpr uint flags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                         kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                         kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;
  setNonBlocking(console.get());
  setNonBlocking(doorbell.get());
  bell_ = doorbell.duplicate();
  auto streams = kj::heapArrayBuilder<kj::Promise<void>>(2);
  streams.add(pumpConsole(io.wrapSocketFd(console.release(), flags)));
  streams.add(pumpDoorbell(io.wrapSocketFd(doorbell.release(), flags)));
  return kj::joinPromises(streams.finish()).exclusiveJoin(poll(provider.getTimer()));
}

kj::Promise<void> GuestLink::pumpConsole(kj::Own<kj::AsyncInputStream> stream) {
  return forEachChunk(kj::mv(stream), [this](std::string_view bytes) {
    record_.append(RecordFile::console, bytes);
    console_ += bytes.substr(0, consoleLimit - console_.size());
  });
}

kj::Promise<void> GuestLink::pumpDoorbell(kj::Own<kj::AsyncInputStream> stream) {
  return forEachChunk(kj::mv(stream), [this](std::string_view) { drain(); });
}

kj::Promise<void> GuestLink::poll(kj::Timer& timer) {
  return timer.afterDelay(100 * kj::MILLISECONDS).then([this, &timer] {
    drain();
    return poll(timer);
  });
}

void GuestLink::drain() {
  if (!corruption_.empty()) return;
  try {
    uint64_t beforeNs = monotonicNs();
    while (auto bytes = mailbox_.next()) {
      take(*bytes, beforeNs, monotonicNs());
      beforeNs = monotonicNs();
    }
  } catch (const Error& error) {
    corruption_ = error.what();
    log::warn("the guest's mailbox: " + corruption_);
  }
}

void GuestLink::take(const std::vector<std::byte>& bytes, uint64_t beforeNs, uint64_t afterNs) {
  if (events_.size() >= eventLimit) {
    throw Error(ExitCode::infrastructure, "too-many-events", text("more than ", eventLimit, " events"));
  }
  if (bytes.size() % sizeof(capnp::word) != 0) {
    throw Error(ExitCode::infrastructure, "event-invalid", text("an event of ", bytes.size(), " bytes"));
  }
  try {
    auto message = std::make_unique<Message>(bytes);
    auto event = message->reader.getRoot<rpc::GuestEvent>();
    clock_.take(event, beforeNs, afterNs, mailbox_.consumed());
    record_.append(RecordFile::events, toJson(event) + "\n");
    if (event.isSchedulerLog()) {
      const auto log = event.getSchedulerLog();
      record_.append(RecordFile::scheduler, std::string_view(log.begin(), log.size()));
    }
    onEvent_(event);
    events_.push_back(std::move(message));
  } catch (const kj::Exception& exception) {
    throw Error(ExitCode::infrastructure, "event-invalid", exception.getDescription().cStr());
  }
}

std::vector<rpc::GuestEvent::Reader> GuestLink::events() const {
  std::vector<rpc::GuestEvent::Reader> all;
  for (const auto& message : events_) all.push_back(message->reader.getRoot<rpc::GuestEvent>());
  return all;
}

void GuestLink::letGoOn() {
  mailbox_.letGoOn();
}

uint32_t GuestLink::requestStats() {
  const uint32_t number = mailbox_.requestStats();
  // Where the bell is not heard, the agent looks by itself within 100 ms.
  if (!bell_ || write(bell_.get(), "!", 1) != 1) log::debug("the guest's bell cannot be rung");
  return number;
}

void GuestLink::requestStop() {
  mailbox_.requestStop();
}

}  // namespace ktstr
