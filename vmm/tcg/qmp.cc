#include "vmm/tcg/qmp.h"

#include <capnp/compat/json.h>
#include <capnp/message.h>

#include <utility>

#include "protocol/text.h"
#include "vmm/rpc_error.h"

namespace ktstr::vmm {
namespace {

using capnp::JsonValue;

// The member of that name, or null.
JsonValue::Reader member(JsonValue::Reader object, kj::StringPtr name) {
  if (object.isObject()) {
    for (const auto field : object.getObject()) {
      if (field.getName() == name) return field.getValue();
    }
  }
  return {};
}

std::string string(JsonValue::Reader value) {
  return value.isString() ? value.getString().cStr() : "";
}

}  // namespace

QmpMessage parseQmp(std::string_view line) {
  capnp::MallocMessageBuilder arena;
  auto root = arena.initRoot<JsonValue>();
  capnp::JsonCodec codec;
  codec.setMaxNestingDepth(16);
  codec.decodeRaw(kj::arrayPtr(line.data(), line.size()), root);
  const JsonValue::Reader value = root.asReader();
  KJ_REQUIRE(value.isObject(), "QMP line is not an object");
  QmpMessage message;
  for (const auto field : value.getObject()) {
    const kj::StringPtr name = field.getName();
    const JsonValue::Reader content = field.getValue();
    if (name == "QMP") message.kind = QmpMessage::greeting;
    if (name == "event") {
      message.kind = QmpMessage::event;
      message.name = string(content);
    }
    if (name == "return") {
      message.kind = QmpMessage::success;
      message.status = string(member(content, "status"));
    }
    if (name == "error") {
      message.kind = QmpMessage::failure;
      message.name = text(string(member(content, "class")), ": ", string(member(content, "desc")));
    }
    if (name == "data") {
      const JsonValue::Reader guest = member(content, "guest");
      message.guest = guest.isBoolean() && guest.getBoolean();
      message.reason = string(member(content, "reason"));
    }
  }
  return message;
}

Qmp::Qmp(kj::Own<kj::AsyncIoStream> stream, std::function<void(const QmpMessage&)> onEvent)
    : stream_(kj::mv(stream)), onEvent_(std::move(onEvent)), closed_(nullptr) {
  closed_ = readLoop()
                .then([this] { fail("engine-gone: QEMU has closed its control connection"); },
                      [this](kj::Exception&& e) {
                        fail(text("engine-gone: QEMU's control connection broke: ", e.getDescription().cStr())
                                 .c_str());
                      })
                .fork();
}

kj::Promise<void> Qmp::handshake() {
  return greeted_.promise.then([this] { return execute("qmp_capabilities"); }).ignoreResult();
}

kj::Promise<std::string> Qmp::execute(const std::string& command, const std::string& arguments) {
  if (!open_) return rpcException("engine-gone: QEMU has ended");
  auto line =
      text("{\"execute\":\"", command, "\"", arguments.empty() ? "" : ",\"arguments\":", arguments, "}\n");
  auto bytes = kj::heapString(line.data(), line.size());
  auto answer = kj::newPromiseAndFulfiller<std::string>();
  pending_.push_back(kj::mv(answer.fulfiller));
  writes_ = writes_
                .then([this, bytes = kj::mv(bytes)]() mutable {
                  return stream_->write(bytes.begin(), bytes.size()).attach(kj::mv(bytes));
                })
                .eagerlyEvaluate([](kj::Exception&&) {});  // the reader sees the broken connection as well
  return kj::mv(answer.promise);
}

kj::Promise<void> Qmp::readLoop() {
  return stream_->tryRead(chunk_, 1, sizeof chunk_).then([this](size_t got) -> kj::Promise<void> {
    if (got == 0) return kj::READY_NOW;
    takeLines(got);
    return readLoop();
  });
}

void Qmp::takeLines(size_t got) {
  buffer_.append(chunk_, got);
  size_t begin = 0;
  for (size_t end; (end = buffer_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = std::string_view(buffer_).substr(begin, end - begin);
    if (line.find_first_not_of(" \r") != std::string_view::npos) handle(parseQmp(line));
  }
  buffer_.erase(0, begin);
  KJ_REQUIRE(buffer_.size() <= kMaxLine, "QMP line too long", buffer_.size());
}

void Qmp::handle(const QmpMessage& message) {
  if (message.kind == QmpMessage::greeting) greeted_.fulfiller->fulfill();
  if (message.kind == QmpMessage::event) onEvent_(message);
  if (message.kind != QmpMessage::success && message.kind != QmpMessage::failure) return;
  KJ_REQUIRE(!pending_.empty(), "QMP answer without a command");
  Answer answer = kj::mv(pending_.front());
  pending_.pop_front();
  if (message.kind == QmpMessage::success) {
    answer->fulfill(std::string(message.status));
  } else {
    answer->reject(rpcException(text("engine-refused: ", message.name).c_str()));
  }
}

void Qmp::fail(const char* what) {
  open_ = false;
  greeted_.fulfiller->reject(rpcException(what));
  while (!pending_.empty()) {
    pending_.front()->reject(rpcException(what));
    pending_.pop_front();
  }
}

}  // namespace ktstr::vmm
