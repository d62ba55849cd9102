// Sum of 64-bit words by all threads: nothing but reading, as wide as the processor can.
#include <cstddef>
#include <cstdint>

extern "C" uint64_t read_all(const uint64_t *words, size_t count) {
  uint64_t total = 0;
#pragma omp parallel for reduction(+ : total) schedule(static)
  for (size_t block = 0; block < count / 64; block++) {
    const uint64_t *own = words + 64 * block;
    __builtin_prefetch(own + 512);
    uint64_t sums[8] = {0};
    for (int i = 0; i < 64; i += 8)
      for (int lane = 0; lane < 8; lane++) sums[lane] += own[i + lane];
    for (int lane = 0; lane < 8; lane++) total += sums[lane];
  }
  return total;
}
