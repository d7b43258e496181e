#include "monitor/pending_writes.h"

#include <capnp/message.h>

#include <algorithm>
#include <cstring>

#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr unsigned maxTries = 10;

rpc::WriteGate::Client askForGate(kj::WaitScope& scope, rpc::WriteGrants::Client& grants,
                                  const std::vector<PlannedMapWrite>& planned) {
  std::vector<PlannedMapWrite::Piece> pieces;
  for (const auto& write : planned) pieces.insert(pieces.end(), write.pieces.begin(), write.pieces.end());
  auto request = grants.grantRequest();
  auto ranges = request.initRanges(static_cast<unsigned>(pieces.size()));
  for (unsigned i = 0; i < ranges.size(); ++i) {
    ranges[i].setGpa(pieces[i].gpa);
    ranges[i].setSize(pieces[i].size);
  }
  return request.send().wait(scope).getGate();
}

uint64_t asNumber(const std::vector<std::byte>& bytes) {
  uint64_t value = 0;
  memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

// It may quote what the guest calls its maps and types.
std::string harmless(std::string words) {
  for (char& c : words) c = c < ' ' || c > '~' ? '?' : c;
  return words;
}

}  // namespace

std::vector<PlannedMapWrite> PendingWrites::plan(const Attachment& attachment) {
  std::vector<PlannedMapWrite> planned;
  for (size_t i = 0; i < asked_.size(); ++i) {
    try {
      const MapWrite write = parseMapWrite(asked_[i]);
      const auto one = planMapWrites(*attachment.kernel, attachment.analysis->layout(), std::span(&write, 1));
      planned.push_back(one.front());
    } catch (const Error& error) {
      failure_ = {i, error};
      throw;
    }
  }
  return planned;
}

void PendingWrites::attempt(kj::AsyncIoContext& io, const Attachment& attachment,
                            rpc::Observer::Client observer, rpc::WriteGrants::Client grants) {
  std::vector<PlannedMapWrite> planned;
  try {
    planned = plan(attachment);
  } catch (const Error&) {
    if (++tries_ == maxTries) giveUp();
    return;
  }
  failure_.reset();
  try {
    auto gate = askForGate(io.waitScope, grants, planned);
    tellWritten(writeMapsFrozen({io, kj::mv(observer), kj::mv(gate)}, *attachment.kernel, planned,
                                [&] { return plan(attachment); }));
  } catch (const Error& error) {
    if (!failure_) failure_ = {0, error};
    giveUp();
  } catch (const kj::Exception& refusal) {
    failure_ = {0, Error(ExitCode::infrastructure, "write-refused", refusal.getDescription().cStr(),
                         "see the VMM's log")};
    giveUp();
  }
}

void PendingWrites::giveUp() {
  if (!pending() || !failure_) return;
  const Error& error = failure_->error;
  const size_t which = failure_->which;
  for (size_t i = 0; i < asked_.size(); ++i) {
    tell(asked_[i], [&](rpc::MapWriteOutcome::Builder out) {
      out.setFailure(i == which ? error.name() : "held-back");
      out.setProblem(i == which ? harmless(error.message() + "; " + error.hint())
                                : text(asked_[which], " could not be written, and it is all or none"));
    });
  }
  settle();
}

void PendingWrites::tell(const std::string& asked,
                         const std::function<void(rpc::MapWriteOutcome::Builder)>& fill) const {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<rpc::MonitorRecord>().initMapWrite();
  out.setAsked(asked);
  out.setOfOperation(ofOperation());
  if (of_) {
    out.setStep(of_->step);
    out.setOp(of_->op);
  }
  fill(out);
  put_(message.getRoot<rpc::MonitorRecord>().asReader());
}

void PendingWrites::settle() {
  asked_.clear();
  if (done_) done_->fulfill();
}

void PendingWrites::tellWritten(const FrozenWrites& writes) {
  const uint64_t now = monotonicNs();
  for (size_t i = 0; i < asked_.size(); ++i) {
    const PlannedMapWrite& write = writes.made[i];
    tell(asked_[i], [&](rpc::MapWriteOutcome::Builder out) {
      out.setMap(write.map);
      out.setAddress(write.address);
      out.setBytes(static_cast<uint8_t>(write.bytes.size()));
      out.setBefore(asNumber(write.before));
      out.setWrote(asNumber(write.bytes));
      out.setAfterValid(!writes.after[i].empty());
      out.setAfter(asNumber(writes.after[i]));
      out.setFrozenNs(writes.frozenNs);
      out.setAtNs(now);
    });
  }
  settle();
}

}  // namespace ktstr
