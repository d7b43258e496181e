#include "guest/work/alu.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "guest/work/loops.h"

namespace ktstr::work {
namespace {

using Scalar = uint64_t;
using Vec128 = uint32_t __attribute__((vector_size(16)));
using Vec256 = uint32_t __attribute__((vector_size(32)));
using Vec512 = uint32_t __attribute__((vector_size(64)));

volatile unsigned char sink;

template <typename Lane>
[[gnu::always_inline]] inline void chains(uint64_t steps) {
  Lane a{}, b{}, c{}, d{};
  a += 3, b += 5, c += 7, d += 11;
  for (uint64_t step = 0; step < steps; step++) {
    a *= a, b *= b, c *= c, d *= d;
  }
  a += b + c + d;
  sink = *reinterpret_cast<const unsigned char*>(&a);
}

void scalar(uint64_t steps) {
  chains<Scalar>(steps);
}
[[gnu::target("sse4.1")]] void vec128(uint64_t steps) {
  chains<Vec128>(steps);
}
[[gnu::target("avx2")]] void vec256(uint64_t steps) {
  chains<Vec256>(steps);
}
[[gnu::target("avx512f")]] void vec512(uint64_t steps) {
  chains<Vec512>(steps);
}

// Tiles 0-3 of 16 rows of 64 bytes (Intel SDM vol. 1 ch. 18, palette 1).
[[gnu::target("amx-tile,amx-int8")]] void amx(uint64_t steps) {
  alignas(64) std::array<unsigned char, 64> layout{};
  layout[0] = 1;
  for (size_t tile = 0; tile < 6; tile++) {
    layout[16 + tile * 2] = 64;
    layout[48 + tile] = 16;
  }
  _tile_loadconfig(layout.data());  // which also zeroes them
  for (uint64_t step = 0; step < steps; step++) {
    _tile_dpbssd(0, 4, 5);
    _tile_dpbssd(1, 4, 5);
    _tile_dpbssd(2, 4, 5);
    _tile_dpbssd(3, 4, 5);
  }
  _tile_release();
}

bool hasAmx() {
  constexpr unsigned long requestPermission = 0x1023,
                          tileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 3) != 3) return false;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

}  // namespace

Multiplier multiplier(rpc::AluWidth width) {
  const bool widest = width == rpc::AluWidth::WIDEST;
  if (width == rpc::AluWidth::AMX && hasAmx()) return {"amx", amx};
  if ((widest || width >= rpc::AluWidth::VEC512) && __builtin_cpu_supports("avx512f"))
    return {"vec512", vec512};
  if ((widest || width >= rpc::AluWidth::VEC256) && __builtin_cpu_supports("avx2")) return {"vec256", vec256};
  if ((widest || width >= rpc::AluWidth::VEC128) && __builtin_cpu_supports("sse4.1"))
    return {"vec128", vec128};
  return {"scalar", scalar};
}

void aluHot(Seat& seat) {
  constexpr uint64_t steps = 65536;
  const Multiplier chosen = multiplier(seat.type.getAluHot().getWidth());
  seat.telemetry.detail(chosen.name);
  while (!seat.stopping()) {
    chosen.run(steps);
    seat.telemetry.timedIteration(steps);
  }
}

void ipcVariance(Seat& seat) {
  const auto settings = seat.type.getIpcVariance();
  std::vector<uint64_t> cold(512 * 1024 / sizeof(uint64_t));
  uint64_t random = seat.index + 1;
  while (!seat.stopping()) {
    const uint64_t begin = clockNs();
    for (uint32_t period = 0; period < settings.getPeriodIters(); period++) {
      for (uint64_t left = settings.getHotIters(); left > 0 && !seat.stopping();) {
        const uint64_t part = std::min<uint64_t>(left, 65536);
        scalar(part);
        left -= part;
      }
      for (uint64_t touch = 0; touch < settings.getColdIters(); touch++) {
        volatile uint64_t& word = cold[nextRandom(random) % cold.size()];
        word = word + 1;
        if (touch % 1024 == 0 && seat.stopping()) return;
      }
      if (seat.stopping()) return;  // a part of an iteration is none
      seat.telemetry.checkpoint();
    }
    seat.telemetry.iteration(uint64_t{settings.getPeriodIters()} * settings.getColdIters());
    seat.telemetry.operation(clockNs() - begin);
  }
}

}  // namespace ktstr::work
