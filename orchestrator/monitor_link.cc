#include "orchestrator/monitor_link.h"

#include <capnp/serialize-async.h>

#include "protocol/json.h"

namespace ktstr {

kj::Promise<void> MonitorLink::pump(kj::LowLevelAsyncIoProvider& io, Fd pipe) {
  constexpr uint flags = kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                         kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                         kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK;
  setNonBlocking(pipe.get());
  auto stream = io.wrapInputFd(pipe.release(), flags);
  auto& input = *stream;
  return next(input).attach(kj::mv(stream)).catch_([this](kj::Exception&& exception) {
    failure_ = exception.getDescription().cStr();
  });
}

kj::Promise<void> MonitorLink::next(kj::AsyncInputStream& stream) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 8 << 20;  // dumps are large
  return capnp::tryReadMessage(stream, options)
      .then([this, &stream](kj::Maybe<kj::Own<capnp::MessageReader>> maybe) -> kj::Promise<void> {
        KJ_IF_MAYBE (message, maybe) {
          auto record = (*message)->getRoot<rpc::MonitorRecord>();
          if (!record.isDump()) record_.append(RecordFile::samples, toJson(record) + "\n");
          onRecord_(record);
          return next(stream);
        }
        return kj::READY_NOW;
      });
}

}  // namespace ktstr
