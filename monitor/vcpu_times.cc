#include "monitor/vcpu_times.h"

#include "protocol/fd.h"
#include "protocol/log.h"
#include "protocol/text.h"

namespace ktstr {

void VcpuTimes::ask() {
  answer_.reset();
  late_ = underway_;
  if (underway_ || refused_) return;
  underway_ = true;
  call_ =
      observer_.vcpuTimesRequest()
          .send()
          .then(
              [this](capnp::Response<rpc::Observer::VcpuTimesResults>&& response) {
                underway_ = false;
                if (late_) return;
                answer_ = Answer{monotonicNs(), {}};
                for (const uint64_t nanos : response.getNanos()) answer_->nanos.push_back(nanos);
              },
              [this](kj::Exception&& exception) {
                underway_ = false;
                refused_ = true;
                if (exception.getType() == kj::Exception::Type::DISCONNECTED) return;
                log::info(text("the vCPUs' host CPU time is not known: ", exception.getDescription().cStr()));
              })
          .fork();
}

kj::Promise<void> VcpuTimes::answered() {
  if (!underway_ || late_) return kj::READY_NOW;
  return call_.addBranch();
}

void VcpuTimes::addTo(rpc::Sample::Builder sample) {
  if (!answer_) return;
  sample.setVcpuTimesAtNs(answer_->atNs);
  for (auto cpu : sample.getCpus()) {
    if (cpu.getCpu() < answer_->nanos.size()) cpu.setHostTimeNs(answer_->nanos[cpu.getCpu()]);
  }
}

}  // namespace ktstr
