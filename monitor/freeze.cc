#include "monitor/freeze.h"

#include "protocol/call_error.h"
#include "protocol/error.h"
#include "protocol/fd.h"
#include "protocol/text.h"

namespace ktstr {
namespace {

constexpr auto leaseWait = 500 * kj::MILLISECONDS, registersWait = 50 * kj::MILLISECONDS;
constexpr uint64_t leaseNs = 1'000'000'000;  // Observer.freezeLease

std::string wordsOf(const kj::Exception& refusal) {
  try {
    rethrowAsError(refusal);
  } catch (const Error& error) {
    return text(error.name(), ": ", error.message());
  }
}

}  // namespace

Freeze::Freeze(kj::AsyncIoContext& io, rpc::Observer::Client observer, uint32_t vcpus)
    : io_(io), observer_(kj::mv(observer)) {
  failure_ = text("the VMM did not freeze the guest within ", leaseWait / kj::MILLISECONDS, " ms");
  try {
    observer_.freezeLeaseRequest()
        .send()
        .then([this](auto&& response) {
          lease_ = response.getLease();
          failure_.clear();
        })
        .exclusiveJoin(io_.provider->getTimer().afterDelay(leaseWait))
        .wait(io_.waitScope);
  } catch (const kj::Exception& refusal) {
    failure_ = wordsOf(refusal);
  }
  sinceNs_ = monotonicNs();
  if (failure_.empty()) {
    askForRegisters(vcpus);
  } else {
    registersAbsent_ = "they are told of a frozen guest alone";
  }
}

void Freeze::askForRegisters(uint32_t vcpus) {
  registersAbsent_ = "the VMM did not tell them in time";
  registers_.resize(vcpus);
  auto all = kj::heapArrayBuilder<kj::Promise<void>>(vcpus);
  for (uint32_t vcpu = 0; vcpu < vcpus; ++vcpu) {
    auto request = observer_.registersRequest();
    request.setVcpu(vcpu);
    all.add(request.send().then([this, vcpu](auto&& response) {
      const auto told = response.getRegisters();
      registers_[vcpu] = {told.getRip(), told.getCr3()};
    }));
  }
  asking_ = kj::joinPromises(all.finish())
                .then([this] { registersAbsent_.clear(); },
                      [this](kj::Exception&& refusal) { registersAbsent_ = wordsOf(refusal); })
                .eagerlyEvaluate(nullptr);
  io_.waitScope.poll();  // the questions leave now
}

void Freeze::thaw() {
  if (lease_ == nullptr) return;
  asking_.exclusiveJoin(io_.provider->getTimer().afterDelay(registersWait)).wait(io_.waitScope);
  lease_ = nullptr;
  io_.waitScope.poll();  // the release leaves now
  frozenNs_ = monotonicNs() - sinceNs_;
  if (frozenNs_ > leaseNs) {
    frozenNs_ = leaseNs;
    failure_ = "the guest ran again after a second, before all was copied";
  }
  if (!registersAbsent_.empty()) registers_.clear();
}

}  // namespace ktstr
