#include "guest/work/group.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "guest/scenario/work_types.h"
#include "guest/work/custom.h"
#include "guest/work/disk.h"
#include "guest/work/loops.h"
#include "protocol/error.h"
#include "protocol/file.h"

namespace ktstr::work {
namespace {

Mapping mapped(const Fd& file, size_t size) {
  return Mapping(file.get(), 0, size, PROT_READ | PROT_WRITE);
}
Mapping sharedMemory(size_t size) {
  return mapped(makeMemfd("workers", size), size);
}

bool usesPipes(Type::Reader type) {
  return type.isPipeIo() || type.isCachePipe() ||
         (type.isWakeChain() && type.getWakeChain().getWake() == rpc::WakeMechanism::PIPE);
}

// A slot of the queue is two words.
size_t slotsOf(Type::Reader type) {
  return type.isProducerConsumerImbalance() ? 2 * type.getProducerConsumerImbalance().getQueueDepthTarget()
                                            : 0;
}

void addPipe(GroupFiles& files) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw errnoError("pipe-failed", "make a pipe for workers");
  files.pipeReads.emplace_back(ends[0]);
  files.pipeWrites.emplace_back(ends[1]);
}

void addEpoll(GroupFiles& files) {
  files.event = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  files.epoll = Fd(epoll_create1(EPOLL_CLOEXEC));
  epoll_event interest{};
  interest.events = EPOLLIN;
  if (!files.event || !files.epoll ||
      epoll_ctl(files.epoll.get(), EPOLL_CTL_ADD, files.event.get(), &interest) != 0) {
    throw errnoError("pipe-failed", "make an epoll for workers");
  }
}

GroupFiles makeFiles(Type::Reader type, uint32_t size) {
  GroupFiles files;
  for (uint32_t position = 0; usesPipes(type) && position < size; position++) addPipe(files);
  if (type.isEpollStorm()) addEpoll(files);
  return files;
}

}  // namespace

WorkGroup::WorkGroup(Type::Reader type, uint32_t workers, Surroundings surroundings, Fd pages)
    : type_(type),
      workers_(workers),
      size_(workGroupSize(type)),
      slots_(work::slotsOf(type)),
      surroundings_(std::move(surroundings)),
      pageFile_(pages ? std::move(pages) : makeMemfd("workers", workers * sizeof(WorkerPage))),
      pageMemory_(mapped(pageFile_, workers * sizeof(WorkerPage))),
      groupMemory_(sharedMemory(workers / size_ * groupBytes())),
      disk_(makeDisk(type, surroundings_.scratch)) {
  pages_ = reinterpret_cast<WorkerPage*>(pageMemory_.data());
  if (type.isCustom() && type.getCustom().getProgram().size() == 0) findCustom(type.getCustom().getName());
  for (uint32_t number = 0; number < workers / size_; number++) {
    files_.push_back(makeFiles(type, size_));
    for (size_t slot = 0; slot < slots_; slot += 2) slotsOf(number)[slot] = slot / 2;
  }
}

size_t WorkGroup::groupBytes() const {
  const size_t bytes = sizeof(Group) + size_ * sizeof(Member) + slots_ * sizeof(uint64_t);
  return (bytes + alignof(Group) - 1) / alignof(Group) * alignof(Group);
}

Group& WorkGroup::groupOf(uint32_t number) {
  return *reinterpret_cast<Group*>(groupMemory_.data() + number * groupBytes());
}

Member* WorkGroup::membersOf(uint32_t number) {
  return reinterpret_cast<Member*>(&groupOf(number) + 1);
}

std::atomic<uint64_t>* WorkGroup::slotsOf(uint32_t number) {
  return reinterpret_cast<std::atomic<uint64_t>*>(membersOf(number) + size_);
}

void WorkGroup::run(uint32_t index, int startFd) {
  Telemetry telemetry(page(index));
  const uint32_t number = index / size_;
  Seat seat{
      telemetry,       page(index),       type_,           index,          workers_,    index % size_, size_,
      groupOf(number), membersOf(number), slotsOf(number), files_[number], disk_.get(), surroundings_};
  pollfd start = {startFd, POLLIN, 0};
  while (poll(&start, 1, -1) < 0 && errno == EINTR) continue;
  telemetry.begin();
  loopOf(type_.which())(seat);
  telemetry.finish();
}

void WorkGroup::stop(uint32_t index) {
  page(index).stop.store(1, std::memory_order_relaxed);
  futexWake(page(index).stop, 1);
}

}  // namespace ktstr::work
