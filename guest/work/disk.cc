#include "guest/work/disk.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "guest/work/loops.h"
#include "protocol/error.h"

namespace ktstr::work {
namespace {

constexpr uint64_t blocks = diskBytes / diskBlock;

// How the file is opened; nothing: the type has no disk.
int flagsOf(Type::Reader type) {
  switch (type.which()) {
    case Type::IO_SYNC_WRITE:
      return O_SYNC;
    case Type::IO_RAND_READ:
    case Type::IO_CONVOY:
      return O_DIRECT;
    case Type::SEQUENCE:
      for (const auto phase : type.getSequence().getPhases()) {
        if (phase.isIoUs()) return O_SYNC;
      }
      return 0;
    default:
      return 0;
  }
}

void sayWhatItIs(Seat& seat) {
  struct statfs system {};
  const bool tmpfs = fstatfs(seat.disk, &system) == 0 && system.f_type == TMPFS_MAGIC;
  const bool direct = (fcntl(seat.disk, F_GETFL) & O_DIRECT) != 0;
  const bool sync = (fcntl(seat.disk, F_GETFL) & O_SYNC) == O_SYNC;
  std::string what = tmpfs ? "tmpfs file" : "file";
  what += direct ? ", O_DIRECT" : sync ? ", O_SYNC" : ", O_DIRECT refused";
  seat.telemetry.detail(what.c_str());
}

}  // namespace

Fd makeDisk(Type::Reader type, const std::string& directory) {
  const int flags = flagsOf(type);
  if (flags == 0) return {};
  Fd file(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600));
  if (!file && errno == EINVAL && flags == O_DIRECT)  // the file system has none (man 2 open)
    file = Fd(open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) throw errnoError("disk-failed", "make a file in " + directory);
  if (const int error = posix_fallocate(file.get(), 0, diskBytes); error != 0)
    throw errnoError("disk-failed", "reserve 4 MiB in " + directory, {}, error);
  return file;
}

Disk::Disk(Seat& seat) : seat_(seat) {
  sayWhatItIs(seat);
}

uint64_t Disk::write(uint64_t block) {
  const auto place = static_cast<off_t>(block % blocks * diskBlock);
  if (pwrite(seat_.disk, block_, diskBlock, place) == static_cast<ssize_t>(diskBlock)) return 1;
  seat_.telemetry.error("pwrite");
  return 0;
}

uint64_t Disk::read(uint64_t block) {
  const auto place = static_cast<off_t>(block % blocks * diskBlock);
  if (pread(seat_.disk, block_, diskBlock, place) == static_cast<ssize_t>(diskBlock)) return 1;
  seat_.telemetry.error("pread");
  return 0;
}

void Disk::sync() {
  if (fdatasync(seat_.disk) != 0) seat_.telemetry.error("fdatasync");
}

void Disk::wait(uint64_t deviceUs) {
  if (deviceUs > 0) seat_.sleepUntil(clockNs() + deviceUs * 1000);
}

uint64_t Disk::writeStripe(uint64_t deviceUs) {
  uint64_t units = 0;
  for (uint64_t block = 0; block < stripeBlocks; block++) units += write(seat_.index * stripeBlocks + block);
  sync();
  wait(deviceUs);
  return units;
}

void ioSyncWrite(Seat& seat) {
  Disk disk(seat);
  while (!seat.stopping()) {
    const uint64_t begin = clockNs();
    const uint64_t units = disk.writeStripe(seat.type.getIoSyncWrite().getDeviceUs());
    seat.telemetry.operation(clockNs() - begin);
    seat.telemetry.iteration(units);
  }
}

void ioRandRead(Seat& seat) {
  Disk disk(seat);
  uint64_t random = seat.index + 1;
  while (!seat.stopping()) {
    const uint64_t begin = clockNs();
    const uint64_t units = disk.read(nextRandom(random));
    disk.wait(seat.type.getIoRandRead().getDeviceUs());
    seat.telemetry.operation(clockNs() - begin);
    seat.telemetry.iteration(units);
  }
}

void ioConvoy(Seat& seat) {
  Disk disk(seat);
  uint64_t random = seat.index + 1, written = seat.index * stripeBlocks;
  for (uint64_t round = 1; !seat.stopping(); round++) {
    const uint64_t begin = clockNs();
    uint64_t units = disk.write(written++);
    units += disk.read(nextRandom(random));
    if (round % 16 == 0) disk.sync();
    disk.wait(seat.type.getIoConvoy().getDeviceUs());
    seat.telemetry.operation(clockNs() - begin);
    seat.telemetry.iteration(units);
  }
}

}  // namespace ktstr::work
