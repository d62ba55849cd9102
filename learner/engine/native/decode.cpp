// One decoding step of a Llama-family model for a few rows at once, on CPU cores.
//
// At a few rows a step is bound by reading the weights once. So the whole step is one call: every
// thread walks the layers, the rows of each matrix are handed out in pieces, and a phase ends when
// its pieces are done, five times a layer. Weights stay where PyTorch keeps them (row-major, float or bfloat16);
// activations are float. A row's sums are taken in the same order whatever else is in the batch, so
// its logits are bitwise the same alone and among others.
//
// LoRA stays beside the weights (y = W x + B A x, scale folded into B): the rows of A join the
// matrix before them, and whoever reads y adds B's share, so an adapter costs no phase.
//
// Plain C interface, called through ctypes (native.py has the same structs). No dependencies.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;
typedef float vec __attribute__((vector_size(64)));
typedef float vec_in_memory __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64)));
typedef uint32_t uvec __attribute__((vector_size(64)));
typedef uint32_t words_in_memory __attribute__((vector_size(64), aligned(2), may_alias));
typedef uint16_t half_in_memory __attribute__((vector_size(32), aligned(2), may_alias));
typedef float half_lanes __attribute__((vector_size(32)));
typedef float quarter_lanes __attribute__((vector_size(16)));

using bf16 = uint16_t;  // the upper half of a float

inline vec load(const float* p) { return *reinterpret_cast<const vec_in_memory*>(p); }
inline vec load(const bf16* p) {
#if defined(__AVX512F__)  // GCC 12 makes five instructions of the general form
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return (vec)_mm512_slli_epi32(wide, 16);
#else
    uvec wide = __builtin_convertvector(*reinterpret_cast<const half_in_memory*>(p), uvec) << 16;
    return (vec)wide;  // the same bits
#endif
}
inline void store(float* p, vec v) { *reinterpret_cast<vec_in_memory*>(p) = v; }
inline vec all(float x) { return vec{} + x; }
inline vec larger(vec a, vec b) { return a > b ? a : b; }

// Sixteen floats a cache line: every buffer that a product reads begins on a line.
class Buffer {
   public:
    explicit Buffer(size_t size = 0) : size_(size) {
        if (size) data_ = static_cast<float*>(::operator new(size * 4, std::align_val_t(64)));
    }
    ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer& operator=(Buffer&& other) {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    float* data() { return data_; }
    const float* data() const { return data_; }
    float& operator[](size_t i) { return data_[i]; }
    const float& operator[](size_t i) const { return data_[i]; }
    size_t size() const { return size_; }

   private:
    float* data_ = nullptr;
    size_t size_ = 0;
};

inline float sum(vec v) {
    half_lanes h = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    quarter_lanes q = __builtin_shufflevector(h, h, 0, 1, 2, 3) +
                      __builtin_shufflevector(h, h, 4, 5, 6, 7);
    return (q[0] + q[1]) + (q[2] + q[3]);
}
inline float largest(vec v) {
    float best = v[0];
    for (int i = 1; i < LANES; ++i) best = std::max(best, v[i]);
    return best;
}

inline void put(float* p, float x) { *p = x; }
inline void put(bf16* p, float x) {  // round to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    bits += 0x7fff + ((bits >> 16) & 1);
    *p = static_cast<bf16>(bits >> 16);
}
inline float get(const float* p) { return *p; }
inline float get(const bf16* p) {
    uint32_t bits = static_cast<uint32_t>(*p) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// exp by 2^n times a polynomial of degree 6 on [-ln2/2, ln2/2]; relative error below 3e-7.
inline vec exponential(vec x) {
    x = x > 88.0f ? all(88.0f) : x;
    vec alive = x > -87.0f ? all(1.0f) : vec{};
    x = x > -87.0f ? x : all(-87.0f);
    const vec shift = all(12582912.0f);  // 1.5 * 2^23 rounds to a whole number
    vec n = (x * 1.44269504088896341f + shift) - shift;
    vec r = x - n * 0.693145751953125f - n * 1.42860682030941723212e-6f;
    vec p = all(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec power = (__builtin_convertvector(n, ivec) + 127) << 23;
    return p * (vec)power * alive;
}

}  // namespace

// --- the structs of native.py --------------------------------------------------------------------

extern "C" {

struct LayerWeights {
    const void *q, *k, *v, *o, *gate, *up, *down;  // row-major (out, in), or rows of blocks
    const float *attention_norm, *mlp_norm;
};

struct LoraMatrix {
    const void* a;  // (rank, in), null where the module has no adapter
    const void* b;  // (rank, out): transposed, the scale folded in
};

struct LoraLayer {
    LoraMatrix q, k, v, o, gate, up, down;
};

struct Model {
    int32_t layers, width, ffn, heads, kv_heads, head_dim, vocabulary;
    int32_t bfloat;  // type of embedding, caches, adapters, and of all matrices that are not blocks
    int32_t blocks;  // layers in blocks of four bits, the head in blocks of eight
    float norm_eps;
    const LayerWeights* layer;
    const void* embedding;  // (vocabulary, width)
    const void* head;       // (vocabulary, width)
    const float* final_norm;
    const float* cosines;  // (positions, head_dim / 2)
    const float* sines;
};

// Keys lie in tiles of sixteen positions, [layer][kv head][capacity / 16][head_dim][16], so that
// sixteen scores come out of one register; values as [layer][kv head][capacity][head_dim].
struct Row {
    const void *prefix_keys, *prefix_values;
    void *own_keys, *own_values;
    int32_t prefix_length, prefix_capacity, own_length, own_capacity;  // before this token
    int32_t token, position;
};

struct Step {
    const LoraLayer* lora;  // one a layer, or null: the base speaks
    int32_t lora_rank, rows;
    const Row* row;
    int32_t top_k;
    float* top_values;    // (rows, top_k), largest first
    int64_t* top_tokens;  // (rows, top_k)
    float* logsumexp;     // (rows,) over the whole vocabulary
    float* logits;        // (rows, vocabulary)
};
}

namespace {

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Wait for a moment that is near: spin a little, then give the core to whoever needs it.
template <class Condition>
inline void wait_until(Condition holds) {
    for (int spins = 0; !holds(); ++spins) {
        if (spins < 4000) relax();
        else std::this_thread::yield();
    }
}

// Threads that live as long as the program and sleep between steps.
class Team {
   public:
    explicit Team(int size) : size_(size) {
        for (int i = 1; i < size; ++i) {
            std::thread([this] { serve(); }).detach();
        }
    }
    int size() const { return size_; }

    template <class Work>
    void run(Work& work) {
        call_ = [](void* w) { (*static_cast<Work*>(w))(); };
        work_ = &work;
        left_.store(size_ - 1, std::memory_order_relaxed);
        epoch_.fetch_add(1, std::memory_order_release);
        epoch_.notify_all();
        work();
        wait_until([this] { return left_.load(std::memory_order_acquire) == 0; });
    }

   private:
    void serve() {
        uint32_t seen = 0;
        while (true) {
            epoch_.wait(seen, std::memory_order_acquire);
            seen = epoch_.load(std::memory_order_acquire);
            call_(work_);
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    const int size_;
    void (*call_)(void*) = nullptr;
    void* work_ = nullptr;
    std::atomic<uint32_t> epoch_{0};
    alignas(64) std::atomic<int> left_{0};
};

// Work that is handed out piece by piece. A phase is over when its pieces are done, whoever did
// them: a thread that the system has put aside holds up nobody, unless in the middle of a piece.
struct alignas(64) Phase {
    std::atomic<int> next{0}, done{0};

    template <class Piece>
    void work(int pieces, Piece piece) {
        for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
            std::atomic_thread_fence(std::memory_order_release);  // "begun" before what it writes
            piece(i);
            done.fetch_add(1, std::memory_order_release);
        }
        wait_until([&] { return done.load(std::memory_order_acquire) == pieces; });
    }
    bool begun() const {
        std::atomic_thread_fence(std::memory_order_acquire);  // after whatever was read before
        return next.load(std::memory_order_relaxed) != 0;
    }
};

enum Format { FLOAT, BFLOAT, BLOCKS_OF_4, BLOCKS_OF_8 };

// y[row * stride + n] = W[n] . x[row] for the rows n of one matrix.
struct Matrix {
    const void* weights;
    Format format;
    int outputs;
    float* y;
    int stride;
};

// Rows lie one after the other, so what memory has to bring next is a few kilobytes on.
constexpr int AHEAD = 4608;
inline void fetch(const void* p) { __builtin_prefetch(p, 0, 3); }

// R rows of W against K inputs; the loops over them must be unrolled to stay in registers.
template <int K, int R>
inline void dot_block(const float* w, int inputs, const float* x, float* y, int stride) {
    vec acc[R][K] = {};
    for (int i = 0; i < inputs; i += LANES) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const float* row = w + static_cast<int64_t>(r) * inputs + i;
            fetch(reinterpret_cast<const char*>(row) + AHEAD);
            vec ws = load(row);
#pragma GCC unroll 8
            for (int k = 0; k < K; ++k) acc[r][k] += ws * load(x + k * inputs + i);
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) y[k * stride + r] = sum(acc[r][k]);
}

// bfloat16: thirty-two weights a load. The even ones are the lower halves of sixteen words, shifted
// up, the odd ones the upper halves, the rest masked off; so inputs lie in blocks of thirty-two,
// even ones first (``arrange``).
template <int K, int R>
inline void dot_block(const bf16* w, int inputs, const float* x, float* y, int stride) {
    vec acc[R][K] = {};
    for (int i = 0; i < inputs; i += 2 * LANES) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const bf16* row = w + static_cast<int64_t>(r) * inputs + i;
            fetch(reinterpret_cast<const char*>(row) + AHEAD);
            uvec words = *reinterpret_cast<const words_in_memory*>(row);
            vec even = (vec)(words << 16), odd = (vec)(words & 0xffff0000u);
#pragma GCC unroll 8
            for (int k = 0; k < K; ++k) {
                acc[r][k] += even * load(x + k * inputs + i);
                acc[r][k] += odd * load(x + k * inputs + i + LANES);
            }
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) y[k * stride + r] = sum(acc[r][k]);
}

// Block-quantised weights as GGUF files have them, exactly: thirty-two weights of a row share a
// scale and a minimum (four bits each) or a scale (eight bits). Even ones first, as above.
struct Block4 {
    uint8_t nibbles[16];  // weight 2i in the low half of byte i, weight 2i + 1 in the high one
    float scale, minimum;
};
struct Block8 {
    int8_t even[16], odd[16];
    float scale;
};

typedef uint8_t bytes_in_memory __attribute__((vector_size(16), aligned(1), may_alias));
typedef int8_t signed_in_memory __attribute__((vector_size(16), aligned(1), may_alias));

inline void unpack(const Block4& block, vec& even, vec& odd) {
#if defined(__AVX512F__)
    // The sixteen values that a weight of this block can have, looked up by its four bits.
    const vec steps = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vec table = steps * block.scale + block.minimum;
    __m512i low = _mm512_cvtepu8_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.nibbles)));
    even = (vec)_mm512_permutexvar_ps(low, (__m512)table);
    odd = (vec)_mm512_permutexvar_ps(_mm512_srli_epi32(low, 4), (__m512)table);
#else
    ivec bytes = __builtin_convertvector(
        *reinterpret_cast<const bytes_in_memory*>(block.nibbles), ivec);
    even = __builtin_convertvector(bytes & 15, vec) * block.scale + block.minimum;
    odd = __builtin_convertvector(bytes >> 4, vec) * block.scale + block.minimum;
#endif
}

inline vec widened(const int8_t* p) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    return __builtin_convertvector(*reinterpret_cast<const signed_in_memory*>(p), vec);
#endif
}
inline void unpack(const Block8& block, vec& even, vec& odd) {
    even = widened(block.even) * block.scale;
    odd = widened(block.odd) * block.scale;
}

constexpr int BLOCK = 2 * LANES;

template <int K, int R, class B>
inline void dot_block(const B* w, int inputs, const float* x, float* y, int stride) {
    const int blocks = inputs / BLOCK;
    vec acc[R][K] = {};
    for (int b = 0; b < blocks; ++b) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const B* block = w + static_cast<int64_t>(r) * blocks + b;
            fetch(reinterpret_cast<const char*>(block) + AHEAD);
            vec even, odd;
            unpack(*block, even, odd);
#pragma GCC unroll 8
            for (int k = 0; k < K; ++k) {
                acc[r][k] += even * load(x + k * inputs + b * BLOCK);
                acc[r][k] += odd * load(x + k * inputs + b * BLOCK + LANES);
            }
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) y[k * stride + r] = sum(acc[r][k]);
}

// How many stored units one row takes.
inline int row_units(int inputs, const float*) { return inputs; }
inline int row_units(int inputs, const bf16*) { return inputs; }
template <class B>
inline int row_units(int inputs, const B*) { return inputs / BLOCK; }

// Bring n inputs into the order that the products of this weight type read.
inline void arrange(float*, int, const float*) {}
inline void arrange(float* x, int n, const bf16*) {
    for (int i = 0; i < n; i += 2 * LANES) {
        vec a = load(x + i), b = load(x + i + LANES);
        store(x + i, __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24,
                                             26, 28, 30));
        store(x + i + LANES, __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21,
                                                     23, 25, 27, 29, 31));
    }
}

template <class W, int K>
void dots(const W* w, int from, int to, int inputs, const float* x, float* y, int stride) {
    constexpr int R = K == 1 ? 8 : K <= 5 ? 4 : 3;
    int n = from;
    const int64_t units = row_units(inputs, w);
    for (; n + R <= to; n += R) dot_block<K, R>(w + n * units, inputs, x, y + n, stride);
    for (; n < to; ++n) dot_block<K, 1>(w + n * units, inputs, x, y + n, stride);
}

// Rows of the batch in groups of at most eight: the chunk of weights stays in the cache meanwhile.
template <class W>
void dots_of_rows(const W* w, const Matrix& m, int from, int to, int inputs, const float* x,
                  int rows) {
    for (int first = 0; first < rows; first += 8) {
        const float* xs = x + static_cast<int64_t>(first) * inputs;
        float* ys = m.y + static_cast<int64_t>(first) * m.stride;
        switch (std::min(8, rows - first)) {
            case 1: dots<W, 1>(w, from, to, inputs, xs, ys, m.stride); break;
            case 2: dots<W, 2>(w, from, to, inputs, xs, ys, m.stride); break;
            case 3: dots<W, 3>(w, from, to, inputs, xs, ys, m.stride); break;
            case 4: dots<W, 4>(w, from, to, inputs, xs, ys, m.stride); break;
            case 5: dots<W, 5>(w, from, to, inputs, xs, ys, m.stride); break;
            case 6: dots<W, 6>(w, from, to, inputs, xs, ys, m.stride); break;
            case 7: dots<W, 7>(w, from, to, inputs, xs, ys, m.stride); break;
            default: dots<W, 8>(w, from, to, inputs, xs, ys, m.stride);
        }
    }
}

void multiply_chunk(const Matrix& m, int from, int to, int inputs, const float* x, int rows) {
    const void* w = m.weights;
    switch (m.format) {
        case FLOAT: dots_of_rows(static_cast<const float*>(w), m, from, to, inputs, x, rows); break;
        case BFLOAT: dots_of_rows(static_cast<const bf16*>(w), m, from, to, inputs, x, rows); break;
        case BLOCKS_OF_4:
            dots_of_rows(static_cast<const Block4*>(w), m, from, to, inputs, x, rows);
            break;
        case BLOCKS_OF_8:
            dots_of_rows(static_cast<const Block8*>(w), m, from, to, inputs, x, rows);
    }
}

// y += B a, with B transposed: (rank, outputs from 0), for outputs [from, to).
template <class W>
void add_lora(const W* b, int rank, int outputs, const float* a, int from, int to, float* y) {
    for (int n = from; n < to; n += LANES) {
        vec acc = load(y + n - from);
        for (int j = 0; j < rank; ++j) acc += load(b + static_cast<int64_t>(j) * outputs + n) * a[j];
        store(y + n - from, acc);
    }
}

void normalise(const float* x, const float* gain, int width, float eps, float* out) {
    vec squares = {};
    for (int i = 0; i < width; i += LANES) squares += load(x + i) * load(x + i);
    float scale = 1.0f / std::sqrt(sum(squares) / width + eps);
    for (int i = 0; i < width; i += LANES) store(out + i, load(x + i) * scale * load(gain + i));
}

// Attention of G query heads that share one key-value head, over two segments of cache. Keys lie in
// tiles of sixteen positions, (head_dim, 16) each, so that a tile gives sixteen scores.
template <class W>
struct Segment {
    const W *keys, *values;
    int length;
    int padded() const { return (length + LANES - 1) / LANES * LANES; }
};

template <class W, int G>
void attend(const float* queries, int head_dim, const Segment<W> (&segments)[2],
            std::vector<float>& scratch, float* out) {
    const int total = segments[0].padded() + segments[1].padded();
    if (static_cast<int>(scratch.size()) < G * total) scratch.resize(2 * G * total);
    float* scores[G];
    vec high[G], weight[G] = {};
    for (int g = 0; g < G; ++g) scores[g] = scratch.data() + g * total, high[g] = all(-1e30f);
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    int at = 0;
    for (const Segment<W>& seg : segments) {
        for (int p = 0; p < seg.padded(); p += LANES, at += LANES) {
            const W* tile = seg.keys + static_cast<int64_t>(p) * head_dim;
            vec score[G] = {};
            for (int d = 0; d < head_dim; ++d) {
                vec key = load(tile + d * LANES);
#pragma GCC unroll 4
                for (int g = 0; g < G; ++g) score[g] += key * queries[g * head_dim + d];
            }
            for (int g = 0; g < G; ++g) {
                score[g] *= scale;
                for (int i = seg.length - p; i < LANES; ++i) score[g][i] = -1e30f;
                store(scores[g] + at, score[g]);
                high[g] = larger(high[g], score[g]);
            }
        }
    }
    for (int g = 0; g < G; ++g) {
        const float peak = largest(high[g]);
        for (int p = 0; p < total; p += LANES) {
            vec e = exponential(load(scores[g] + p) - peak);
            store(scores[g] + p, e);
            weight[g] += e;
        }
    }
    for (int block = 0; block < head_dim; block += 2 * LANES) {
        const bool two = head_dim - block > LANES;
        vec acc[G][2] = {};
        at = 0;
        for (const Segment<W>& seg : segments) {
            const W* values = seg.values + block;
            for (int p = 0; p < seg.length; ++p, values += head_dim) {
                vec low = load(values), upper = two ? load(values + LANES) : vec{};
#pragma GCC unroll 4
                for (int g = 0; g < G; ++g) {
                    acc[g][0] += low * scores[g][at + p];
                    acc[g][1] += upper * scores[g][at + p];
                }
            }
            at += seg.padded();
        }
        for (int g = 0; g < G; ++g) {
            const float inverse = 1.0f / sum(weight[g]);
            store(out + g * head_dim + block, acc[g][0] * inverse);
            if (two) store(out + g * head_dim + block + LANES, acc[g][1] * inverse);
        }
    }
}

// Any number of query heads, four at a time.
template <class W>
void attend_group(const float* queries, int group, int head_dim, const Segment<W> (&segments)[2],
                  std::vector<float>& scratch, float* out) {
    for (int first = 0; first < group; first += 4) {
        const float* q = queries + first * head_dim;
        float* o = out + first * head_dim;
        switch (std::min(4, group - first)) {
            case 1: attend<W, 1>(q, head_dim, segments, scratch, o); break;
            case 2: attend<W, 2>(q, head_dim, segments, scratch, o); break;
            case 3: attend<W, 3>(q, head_dim, segments, scratch, o); break;
            default: attend<W, 4>(q, head_dim, segments, scratch, o);
        }
    }
}

void rotate(float* head, const float* cosines, const float* sines, int head_dim) {
    int half = head_dim / 2;
    for (int i = 0; i < half; ++i) {
        float a = head[i], b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = b * cosines[i] + a * sines[i];
    }
}

// The k largest of a row, largest first, ties by the smaller token; and its logsumexp.
void top_of_row(const float* logits, int n, int k, float* values, int64_t* tokens, float* lse) {
    constexpr int GROUP = 64;
    int blocks = (n + GROUP - 1) / GROUP;
    std::vector<float> peaks(blocks);
    for (int b = 0; b < blocks; ++b) {
        int end = std::min(n, (b + 1) * GROUP), i = b * GROUP;
        vec high = all(-INFINITY);
        for (; i + LANES <= end; i += LANES) high = larger(high, load(logits + i));
        float best = largest(high);
        for (; i < end; ++i) best = std::max(best, logits[i]);
        peaks[b] = best;
    }
    float peak = *std::max_element(peaks.begin(), peaks.end());
    vec total = {};
    int i = 0;
    for (; i + LANES <= n; i += LANES) total += exponential(load(logits + i) - peak);
    double mass = sum(total);
    for (; i < n; ++i) mass += std::exp(logits[i] - peak);
    *lse = peak + static_cast<float>(std::log(mass));

    // The k-th largest block peak bounds the k-th largest logit from below.
    float bound = -INFINITY;
    if (k < blocks) {
        std::vector<float> order(peaks);
        std::nth_element(order.begin(), order.begin() + (k - 1), order.end(), std::greater<>());
        bound = order[k - 1];
    }
    std::vector<int> found;
    for (int b = 0; b < blocks; ++b) {
        if (peaks[b] < bound) continue;
        int end = std::min(n, (b + 1) * GROUP);
        for (int j = b * GROUP; j < end; ++j)
            if (logits[j] >= bound) found.push_back(j);
    }
    auto before = [logits](int a, int b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    };
    if (static_cast<int>(found.size()) < k) {  // some logits are no numbers; the caller sees the sum
        *lse = NAN;
        return;
    }
    std::partial_sort(found.begin(), found.begin() + k, found.end(), before);
    for (int j = 0; j < k; ++j) {
        values[j] = logits[found[j]];
        tokens[j] = found[j];
    }
}

template <class W>
class Decoding {
   public:
    Decoding(const Model& model, const Step& step, Team& team)
        : m_(model), s_(step), team_(team), K_(step.rows), rank_(step.lora ? step.lora_rank : 0),
          phases_(5 * model.layers + 8) {
        int heads = m_.heads * m_.head_dim, kv = m_.kv_heads * m_.head_dim;
        q_ = Buffer(K_ * heads);
        k_ = Buffer(K_ * kv);
        v_ = Buffer(K_ * kv);
        attended_ = Buffer(K_ * heads);
        o_ = Buffer(K_ * m_.width);
        gate_ = Buffer(K_ * m_.ffn);
        up_ = Buffer(K_ * m_.ffn);
        down_ = Buffer(K_ * m_.width);
        for (auto& a : low_) a = Buffer(static_cast<size_t>(K_) * std::max(1, rank_));
    }

    // What every thread of the team does. It keeps the residual stream for itself, made from what all
    // have written. Should it come so late that this has been written over for the next layer, the
    // others are ahead and it leaves the rest of the step to them.
    void operator()() {
        const int d = m_.width;
        Buffer x(K_ * d), h(K_ * d), act(K_ * m_.ffn);
        std::vector<float> scratch;
        for (int k = 0; k < K_; ++k) {
            const W* e = static_cast<const W*>(m_.embedding) + int64_t(s_.row[k].token) * d;
            for (int i = 0; i < d; i += LANES) store(&x[k * d + i], load(e + i));
        }
        for (int l = 0; l < m_.layers; ++l) {
            const LayerWeights& w = m_.layer[l];
            const LoraLayer* lora = s_.lora ? &s_.lora[l] : nullptr;
            const int heads = m_.heads * m_.head_dim, kv = m_.kv_heads * m_.head_dim;
            Phase* now = &phases_[5 * l];
            const Phase* next_layer = now + 5;

            norm_all(x, w.attention_norm, h);
            multiply(now[0], h.data(), d,
                     {full(w.q, heads, q_), full(w.k, kv, k_), full(w.v, kv, v_),
                      low(lora ? &lora->q : nullptr, 0), low(lora ? &lora->k : nullptr, 1),
                      low(lora ? &lora->v : nullptr, 2)});
            attention(now[1], l, lora, scratch);
            multiply(now[2], attended_.data(), heads,
                     {full(w.o, d, o_), low(lora ? &lora->o : nullptr, 3)});
            add_residual(x, o_, lora ? &lora->o : nullptr, 3);
            if (next_layer[2].begun()) return;

            norm_all(x, w.mlp_norm, h);
            multiply(now[3], h.data(), d,
                     {full(w.gate, m_.ffn, gate_), full(w.up, m_.ffn, up_),
                      low(lora ? &lora->gate : nullptr, 4), low(lora ? &lora->up : nullptr, 5)});
            activate(lora, act);
            if (next_layer[3].begun()) return;
            multiply(now[4], act.data(), m_.ffn,
                     {full(w.down, d, down_), low(lora ? &lora->down : nullptr, 6)});
            add_residual(x, down_, lora ? &lora->down : nullptr, 6);
            if (next_layer[4].begun()) return;
        }
        norm_all(x, m_.final_norm, h);
        Phase* last = &phases_[5 * m_.layers];
        multiply(last[0], h.data(), d,
                 {{m_.head, m_.blocks ? BLOCKS_OF_8 : plain(), m_.vocabulary, s_.logits,
                   m_.vocabulary}});
        last[1].work(K_, [&](int k) {
            top_of_row(s_.logits + int64_t(k) * m_.vocabulary, m_.vocabulary, s_.top_k,
                       s_.top_values + int64_t(k) * s_.top_k, s_.top_tokens + int64_t(k) * s_.top_k,
                       s_.logsumexp + k);
        });
    }

   private:
    static const W* weights(const void* p) { return static_cast<const W*>(p); }

    static Format plain() { return sizeof(W) == 4 ? FLOAT : BFLOAT; }
    Matrix full(const void* w, int outputs, Buffer& y) {
        return {w, m_.blocks ? BLOCKS_OF_4 : plain(), outputs, y.data(), outputs};
    }

    // The rows of A that ride along with the matrix whose input they share.
    Matrix low(const LoraMatrix* lora, int slot) {
        if (!lora || !lora->a) return {nullptr, plain(), 0, nullptr, 0};
        return {lora->a, plain(), rank_, low_[slot].data(), rank_};
    }

    template <size_t M>
    void multiply(Phase& phase, const float* x, int inputs, const Matrix (&matrices)[M]) {
        int size[M], chunks[M], total = 0;
        for (size_t i = 0; i < M; ++i) {
            int even = matrices[i].outputs / (4 * team_.size()) / 8 * 8;
            size[i] = std::max(16, even);
            total += chunks[i] = (matrices[i].outputs + size[i] - 1) / size[i];
        }
        phase.work(total, [&](int chunk) {
            size_t i = 0;
            while (chunk >= chunks[i]) chunk -= chunks[i++];
            int from = chunk * size[i], to = std::min(matrices[i].outputs, from + size[i]);
            multiply_chunk(matrices[i], from, to, inputs, x, K_);
        });
    }

    void norm_all(const Buffer& x, const float* gain, Buffer& out) {
        for (int k = 0; k < K_; ++k)
            normalise(&x[k * m_.width], gain, m_.width, m_.norm_eps, &out[k * m_.width]);
        arrange(out.data(), K_ * m_.width, static_cast<const W*>(nullptr));
    }

    void add_residual(Buffer& x, const Buffer& y, const LoraMatrix* lora,
                      int slot) {
        const int d = m_.width;
        for (int k = 0; k < K_; ++k) {
            for (int i = 0; i < d; i += LANES)
                store(&x[k * d + i], load(&x[k * d + i]) + load(&y[k * d + i]));
            if (lora && lora->b)
                add_lora(weights(lora->b), rank_, d, &low_[slot][k * rank_], 0, d, &x[k * d]);
        }
    }

    void activate(const LoraLayer* lora, Buffer& act) {
        const int f = m_.ffn;
        float gate[LANES * 4], up[LANES * 4];
        for (int k = 0; k < K_; ++k) {
            for (int from = 0; from < f; from += LANES * 4) {
                int to = std::min(f, from + LANES * 4);
                std::memcpy(gate, &gate_[k * f + from], sizeof(float) * (to - from));
                std::memcpy(up, &up_[k * f + from], sizeof(float) * (to - from));
                if (lora && lora->gate.b)
                    add_lora(weights(lora->gate.b), rank_, f, &low_[4][k * rank_], from, to, gate);
                if (lora && lora->up.b)
                    add_lora(weights(lora->up.b), rank_, f, &low_[5][k * rank_], from, to, up);
                for (int i = 0; i < to - from; i += LANES) {
                    vec g = load(gate + i);
                    store(&act[k * f + from + i], g / (1.0f + exponential(-g)) * load(up + i));
                }
            }
        }
        arrange(act.data(), K_ * f, static_cast<const W*>(nullptr));
    }

    // Units of one row and one key-value head: finish q, k, v, append to the cache, attend.
    void attention(Phase& phase, int l, const LoraLayer* lora, std::vector<float>& scratch) {
        const int dim = m_.head_dim, group = m_.heads / m_.kv_heads;
        const int heads = m_.heads * dim, kv = m_.kv_heads * dim;
        std::vector<float> queries(group * dim), key(dim), value(dim);
        phase.work(K_ * m_.kv_heads, [&](int unit) {
            const int k = unit / m_.kv_heads, head = unit % m_.kv_heads;
            const Row& row = s_.row[k];
            const float* cosines = m_.cosines + int64_t(row.position) * (dim / 2);
            const float* sines = m_.sines + int64_t(row.position) * (dim / 2);
            const int q_from = head * group * dim, kv_from = head * dim;
            std::memcpy(queries.data(), &q_[k * heads + q_from], sizeof(float) * group * dim);
            std::memcpy(key.data(), &k_[k * kv + kv_from], sizeof(float) * dim);
            std::memcpy(value.data(), &v_[k * kv + kv_from], sizeof(float) * dim);
            if (lora && lora->q.b)
                add_lora(weights(lora->q.b), rank_, heads, &low_[0][k * rank_], q_from,
                         q_from + group * dim, queries.data());
            if (lora && lora->k.b)
                add_lora(weights(lora->k.b), rank_, kv, &low_[1][k * rank_], kv_from, kv_from + dim,
                         key.data());
            if (lora && lora->v.b)
                add_lora(weights(lora->v.b), rank_, kv, &low_[2][k * rank_], kv_from, kv_from + dim,
                         value.data());
            for (int g = 0; g < group; ++g) rotate(&queries[g * dim], cosines, sines, dim);
            rotate(key.data(), cosines, sines, dim);

            const int64_t cell = int64_t(l) * m_.kv_heads + head;
            W* own_keys = static_cast<W*>(row.own_keys) + cell * dim * row.own_capacity;
            W* own_values = static_cast<W*>(row.own_values) + cell * dim * row.own_capacity;
            W* tile = own_keys + int64_t(row.own_length / LANES) * dim * LANES +
                      row.own_length % LANES;
            for (int i = 0; i < dim; ++i) {
                put(tile + i * LANES, key[i]);
                put(own_values + int64_t(row.own_length) * dim + i, value[i]);
            }
            Segment<W> segments[2] = {
                {weights(row.prefix_keys) + cell * dim * row.prefix_capacity,
                 weights(row.prefix_values) + cell * dim * row.prefix_capacity, row.prefix_length},
                {own_keys, own_values, row.own_length + 1}};
            float* out = &attended_[k * heads + q_from];
            attend_group<W>(queries.data(), group, dim, segments, scratch, out);
            arrange(out, group * dim, static_cast<const W*>(nullptr));
        });
    }

    const Model& m_;
    const Step& s_;
    Team& team_;
    const int K_, rank_;
    std::vector<Phase> phases_;
    Buffer q_, k_, v_, attended_, o_, gate_, up_, down_;
    Buffer low_[7];  // A x of q, k, v, o, gate, up, down
};

}  // namespace

extern "C" {

void* team_new(int threads) { return new Team(std::max(1, threads)); }

void decode_step(void* team, const Model* model, const Step* step) {
    Team& threads = *static_cast<Team*>(team);
    if (model->bfloat) {
        Decoding<bf16> work(*model, *step, threads);
        threads.run(work);
    } else {
        Decoding<float> work(*model, *step, threads);
        threads.run(work);
    }
}
}
