#include "monitor/record_writer.h"

#include <capnp/serialize.h>

#include <sstream>

#include "protocol/error.h"
#include "protocol/file.h"
#include "protocol/json.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

const char* nameOf(rpc::EndKind kind) {
  constexpr const char* names[] = {"VM gone", "stopped", "sample limit reached", "no kernel found"};
  const auto index = static_cast<size_t>(kind);
  return index < std::size(names) ? names[index] : "?";
}

void describe(std::ostream& out, rpc::Attached::Reader attached) {
  out << "attached to " << attached.getRelease().cStr() << " in " << attached.getTotalMicros() / 1000.0
      << " ms (" << (attached.getCached() ? "cached" : "cold") << "): " << attached.getCpus() << " CPUs, "
      << unsigned{attached.getPagingLevels()} << "-level paging, slide "
      << hex(attached.getVirtualSlideBytes()) << ", " << attached.getSymbols() << " symbols";
  for (const auto absent : attached.getAbsent()) out << "; absent: " << absent.cStr();
}

void describe(std::ostream& out, rpc::MapWriteOutcome::Reader write) {
  out << "write " << write.getAsked().cStr() << ": ";
  if (write.getFailure().size() > 0) {
    out << write.getFailure().cStr() << ": " << write.getProblem().cStr();
    return;
  }
  out << write.getMap().cStr() << " at " << hex(write.getAddress()) << " was " << write.getBefore()
      << ", reads back ";
  if (write.getAfterValid())
    out << write.getAfter();
  else
    out << "nothing";
  if (write.getFrozenNs() > 0) out << ", the guest stood still for " << write.getFrozenNs() / 1000 << " us";
}

void describe(std::ostream& out, rpc::Dump::Reader dump) {
  out << "dump " << dump.getName().cStr() << ": " << dump.getScheduler().getOpsName().cStr() << ' '
      << dump.getScheduler().getState().cStr() << ", " << dump.getDsqs().size() << " DSQs, "
      << dump.getTasks().size() << " tasks, " << dump.getMaps().size() << " maps";
  for (const auto absent : dump.getAbsent())
    out << "; " << absent.getSection().cStr() << ": " << absent.getReason().cStr();
}

void describe(std::ostream& out, rpc::WatchdogWrite::Reader write) {
  out << "watchdog " << write.getAskedMs() << " ms: ";
  if (write.getFailure().size() > 0)
    out << write.getFailure().cStr() << ": " << write.getProblem().cStr();
  else
    out << write.getPlace().cStr() << " was " << write.getBeforeMs() << " ms, reads back "
        << write.getReadBackMs() << " ms";
}

void describe(std::ostream& out, rpc::WatchHit::Reader hit) {
  out << "watch " << hit.getExpression().cStr() << ": " << hit.getBefore().cStr() << " -> "
      << hit.getAfter().cStr() << " after #" << hit.getSequence();
}

}  // namespace

RecordFormat parseRecordFormat(std::string_view name) {
  if (name == "jsonl") return RecordFormat::jsonl;
  if (name == "capnp") return RecordFormat::capnp;
  if (name == "text") return RecordFormat::text;
  throw Error(ExitCode::usage, "format-invalid", text("no format ", name), "use jsonl, capnp or text");
}

std::string RecordWriter::asText(rpc::MonitorRecord::Reader record) {
  std::ostringstream out;
  switch (record.which()) {
    case rpc::MonitorRecord::ATTACHED:
      describe(out, record.getAttached());
      break;
    case rpc::MonitorRecord::SAMPLE:
      out << samples_.describe(record.getSample());
      break;
    case rpc::MonitorRecord::ENDED: {
      const auto ended = record.getEnded();
      out << "ended: " << nameOf(ended.getKind()) << ", " << ended.getSamples() << " samples, "
          << ended.getTornSamples() << " torn, mean cost " << ended.getMeanCostNs() / 1000.0 << " us";
      if (ended.getDetail().size() > 0) out << " (" << ended.getDetail().cStr() << ')';
      break;
    }
    case rpc::MonitorRecord::MAP_WRITE:
      describe(out, record.getMapWrite());
      break;
    case rpc::MonitorRecord::DUMP:
      describe(out, record.getDump());
      break;
    case rpc::MonitorRecord::WATCHDOG:
      describe(out, record.getWatchdog());
      break;
    case rpc::MonitorRecord::WATCH_HIT:
      describe(out, record.getWatchHit());
      break;
    case rpc::MonitorRecord::WAITING:
      out << "waiting for " << record.getWaiting().getElapsedMs()
          << " ms: " << record.getWaiting().getReason().cStr();
      break;
  }
  return out.str();
}

bool RecordWriter::write(rpc::MonitorRecord::Reader record) {
  try {
    if (format_ == RecordFormat::capnp) {
      capnp::MallocMessageBuilder message;
      message.setRoot(record);
      const auto words = capnp::messageToFlatArray(message);
      const auto bytes = words.asBytes();
      writeAll(fd_, std::as_bytes(std::span(bytes.begin(), bytes.size())));
    } else {
      writeAll(fd_, (format_ == RecordFormat::jsonl ? toJson(record) : asText(record)) + '\n');
    }
    return true;
  } catch (const Error& error) {
    failure_ = error.message();
    return false;
  }
}

}  // namespace ktstr
