#include "guest/work/memory.h"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "guest/work/loops.h"

namespace ktstr::work {
namespace {

constexpr size_t pageSize = 4096;

// Moves what is there of the buffer to the node, and has the rest allocated there: piece by piece, as a move
// of all of it may take longer than a stop.
void bindTo(Seat& seat, Buffer& buffer, uint32_t node) {
  constexpr size_t piece = 4 << 20;
  unsigned long mask[maxNumaNodes / 64 + 1] = {};
  mask[node / 64] = 1UL << node % 64;
  for (size_t done = 0; done < buffer.size(); done += piece) {
    if (seat.stopping()) return;
    if (syscall(SYS_mbind, buffer.data() + done, std::min(piece, buffer.size() - done), MPOL_BIND, mask,
                maxNumaNodes + 1, MPOL_MF_MOVE) != 0)
      return seat.telemetry.error("mbind");
  }
  seat.telemetry.event();
}

uint64_t writePages(Seat& seat, Buffer& buffer) {
  uint64_t pages = 0;
  for (size_t offset = 0; offset < buffer.size() && !seat.stopping(); offset += pageSize, pages++) {
    *const_cast<volatile char*>(buffer.data() + offset) = 1;
    if (pages % 256 == 255) seat.telemetry.checkpoint();
  }
  return pages;
}

}  // namespace

Buffer::Buffer(Seat& seat, uint64_t kibibytes) : seat_(seat), size_(kibibytes * 1024) {
  void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    seat.telemetry.error("mmap");
    return;
  }
  data_ = static_cast<char*>(memory);
  madvise(data_, size_, MADV_NOHUGEPAGE);
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  seat_.telemetry.countPages(data_, size_);
  munmap(data_, size_);
}

void Buffer::touch(uint64_t count, uint64_t stride) {
  for (uint64_t i = 1; i <= count; i++) {
    volatile char& byte = data_[next_];
    byte = static_cast<char>(byte + 1);
    next_ += stride;
    if (next_ >= size_) next_ = next_ % size_;
    if (i % 1024 != 0 || i == count) continue;
    if (seat_.stopping()) return;
    seat_.telemetry.noteCpu();
  }
}

void cachePressure(Seat& seat) {
  const auto settings = seat.type.getCachePressure();
  Buffer buffer(seat, settings.getSizeKib());
  for (uint64_t round = 1; buffer && !seat.stopping(); round++) {
    buffer.touch(1024, settings.getStride());
    round % 4 == 0 ? seat.telemetry.iteration(1024) : seat.telemetry.count(1024);
  }
}

void cacheYield(Seat& seat) {
  const auto settings = seat.type.getCacheYield();
  Buffer buffer(seat, settings.getSizeKib());
  if (!buffer) return;
  seat.repeat(1024, [&] {
    buffer.touch(1024, settings.getStride());
    sched_yield();
  });
}

// It ends with its pages in place, so that the report says where they were.
void pageFaultChurn(Seat& seat) {
  const auto settings = seat.type.getPageFaultChurn();
  Buffer buffer(seat, settings.getRegionKib());
  uint64_t random = seat.index + 1;
  while (buffer) {
    for (uint32_t touch = 1; touch <= settings.getTouchesPerCycle(); touch++) {
      const uint64_t page = nextRandom(random) % (buffer.size() / pageSize);
      *const_cast<volatile char*>(buffer.data() + page * pageSize) = 1;
      if (touch % 256 != 0) continue;
      if (seat.stopping()) return;
      seat.telemetry.checkpoint();
    }
    if (seat.stopping()) return;
    if (madvise(buffer.data(), buffer.size(), MADV_DONTNEED) != 0) seat.telemetry.error("madvise");
    seat.spin(settings.getSpinIters());
    seat.telemetry.iteration(uint64_t{settings.getTouchesPerCycle()} + settings.getSpinIters());
  }
}

void numaWorkingSetSweep(Seat& seat) {
  const auto settings = seat.type.getNumaWorkingSetSweep();
  const auto targets = settings.getTargetNodes();
  Buffer buffer(seat, settings.getRegionKib());
  for (uint32_t sweep = seat.index; buffer && !seat.stopping(); sweep++) {
    if (targets.size() > 0) bindTo(seat, buffer, targets[sweep % targets.size()]);
    const uint64_t pages = writePages(seat, buffer);
    if (pages * pageSize < buffer.size()) return;  // a part of a sweep is none
    seat.telemetry.iteration(pages);
    seat.sleepUntil(clockNs() + settings.getSweepPeriodMs() * uint64_t{1'000'000});
  }
}

}  // namespace ktstr::work
