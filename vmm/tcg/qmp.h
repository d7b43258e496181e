// A client of QEMU's machine protocol: one JSON object per line (docs/interop/qmp-spec.rst in QEMU).
#pragma once

#include <kj/async-io.h>

#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace ktstr::vmm {

// One line from QEMU, reduced to what we act on.
struct QmpMessage {
  enum Kind { greeting, event, success, failure, other } kind = other;
  std::string name;    // event: its name; failure: class and description
  std::string status;  // success: return.status if there is one (query-status)
  std::string reason;  // event: data.reason if there is one
  bool guest = false;  // event: data.guest: the guest caused it
};

// Throws kj::Exception on text that is no JSON object.
QmpMessage parseQmp(std::string_view line);

// Commands are answered in order. Once QEMU is gone every pending and later command fails with "engine-gone".
class Qmp {
 public:
  static constexpr size_t kMaxLine = size_t{1} << 20;

  Qmp(kj::Own<kj::AsyncIoStream> stream, std::function<void(const QmpMessage&)> onEvent);

  // Waits for the greeting and leaves negotiation mode.
  kj::Promise<void> handshake();
  // `arguments` is a JSON object or empty. Resolves to QmpMessage::status; fails with "engine-refused".
  kj::Promise<std::string> execute(const std::string& command, const std::string& arguments = {});
  // Resolves when QEMU has closed the connection (or broken the protocol).
  kj::Promise<void> closed() { return closed_.addBranch(); }

 private:
  using Answer = kj::Own<kj::PromiseFulfiller<std::string>>;

  kj::Promise<void> readLoop();
  void takeLines(size_t got);
  void handle(const QmpMessage& message);
  void fail(const char* what);

  kj::Own<kj::AsyncIoStream> stream_;
  std::function<void(const QmpMessage&)> onEvent_;
  std::string buffer_;  // an unfinished line
  char chunk_[4096];
  std::deque<Answer> pending_;
  bool open_ = true;
  kj::PromiseFulfillerPair<void> greeted_ = kj::newPromiseAndFulfiller<void>();
  kj::Promise<void> writes_ = kj::READY_NOW;  // writes go out one after the other
  kj::ForkedPromise<void> closed_;
};

}  // namespace ktstr::vmm
