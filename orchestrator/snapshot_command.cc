#include "orchestrator/snapshot_command.h"

#include <capnp/message.h>
#include <unistd.h>

#include "monitor/dump_text.h"
#include "orchestrator/record_store.h"
#include "orchestrator/snapshot_store.h"
#include "protocol/call_error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/process.h"
#include "protocol/sample.capnp.h"
#include "protocol/transport.h"

namespace ktstr {
namespace {

class NothingServer final : public rpc::Fd::Server {};

[[noreturn]] void becomeMonitor(const SnapshotOptions& options) {
  const std::string path = toolPath("ktstr-monitor"), format = options.asLine ? "jsonl" : "text";
  execl(path.c_str(), path.c_str(), "dump", options.name.c_str(), "--vm", options.vm.c_str(), "--format",
        format.c_str(), nullptr);
  throw errnoError("spawn-failed", "execute " + path);
}

void printSnapshot(const std::string& directory, const std::string& name, bool asLine) {
  capnp::MallocMessageBuilder message;
  auto dump = message.initRoot<rpc::Dump>();
  loadSnapshot(directory, name, dump);
  writeAll(STDOUT_FILENO, asLine ? toJson(dump.asReader()) + "\n" : dumpAsText(dump));
}

}  // namespace

int takeSnapshot(const SnapshotOptions& options) {
  if (!options.vm.empty()) becomeMonitor(options);
  auto running = RecordStore::open().connect(options.run);
  auto io = kj::setupAsyncIo();
  Connection connection(*io.lowLevelProvider, std::move(running.socket), kj::heap<NothingServer>());
  auto request = connection.bootstrap().castAs<rpc::Monitor>().dumpRequest();
  request.setName(options.name);
  request.setReason(rpc::DumpReason::DEMAND);
  try {
    request.send().ignoreResult().wait(io.waitScope);
  } catch (const kj::Exception& exception) {
    rethrowAsError(exception);
  }
  printSnapshot(running.directory, newestSnapshot(running.directory, options.name), options.asLine);
  return 0;
}

int showSnapshot(const std::string& record, const std::string& name, bool asLine) {
  printSnapshot(RecordStore::open().find(record), name, asLine);
  return 0;
}

}  // namespace ktstr
