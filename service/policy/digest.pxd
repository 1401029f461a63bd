"""BLAKE2b of 8 bytes without a key (RFC 7693), as `hashlib.blake2b(data, digest_size=8)`: a call costs more than the digest.

This file must not know what is digested.
"""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static const uint64_t pm_blake_iv[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};
    static const uint8_t pm_blake_sigma[12][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

    #define PM_ROT(x, n) (((x) >> (n)) | ((x) << (64 - (n))))
    #define PM_MIX(a, b, c, d, x, y) do { \\
        a += b + (x); d = PM_ROT(d ^ a, 32); c += d; b = PM_ROT(b ^ c, 24); \\
        a += b + (y); d = PM_ROT(d ^ a, 16); c += d; b = PM_ROT(b ^ c, 63); } while (0)

    static void pm_blake_block(uint64_t h[8], const uint8_t *block, uint64_t counted, int last) {
        uint64_t v[16], m[16];
        memcpy(m, block, 128);
        memcpy(v, h, 64);
        memcpy(v + 8, pm_blake_iv, 64);
        v[12] ^= counted;
        if (last) v[14] = ~v[14];
        for (int round = 0; round < 12; round++) {
            const uint8_t *s = pm_blake_sigma[round];
            PM_MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
            PM_MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
            PM_MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
            PM_MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
            PM_MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
            PM_MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
            PM_MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
            PM_MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
        }
        for (int place = 0; place < 8; place++) h[place] ^= v[place] ^ v[place + 8];
    }

    /* The first eight bytes of the digest, as a little endian number; for hosts that are little endian themselves. */
    static CYTHON_UNUSED uint64_t pm_blake2b_8(const char *data, Py_ssize_t size) {
        uint64_t h[8];
        uint8_t block[128];
        Py_ssize_t done = 0;
        memcpy(h, pm_blake_iv, 64);
        h[0] ^= 0x01010000ULL ^ 8ULL;
        while (size - done > 128) {
            pm_blake_block(h, (const uint8_t *)data + done, (uint64_t)(done + 128), 0);
            done += 128;
        }
        memset(block, 0, 128);
        memcpy(block, data + done, (size_t)(size - done));
        pm_blake_block(h, block, (uint64_t)size, 1);
        return h[0];
    }
    """
    uint64_t digest_of "pm_blake2b_8"(const char *data, Py_ssize_t size) noexcept nogil
