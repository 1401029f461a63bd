"""Numbers rounded and written as Python does it, as ``%.4g``, ``%g`` and ``%.1f``, without a call where that is certain.

A number scaled by a power of ten is off by at most one rounding; where its digits would not hang on that, they are written
from an integer. Ties and what lies near them, very small and very large ones, and what is no number go to
`PyOS_double_to_string`, which is what Python's own formatting calls. This file must not know what is said.
"""

cdef extern from *:
    """
    #include <math.h>
    #include <string.h>

    /* Room that a number needs at most. */
    #define PM_NUMBER 340

    static const double pm_tens[16] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

    static int pm_decimals(char *to, unsigned long long whole) {
        char digits[24];
        int size = 0;
        do { digits[size++] = (char)('0' + whole % 10); whole /= 10; } while (whole);
        for (int place = 0; place < size; place++) to[place] = digits[size - 1 - place];
        return size;
    }

    /* The whole number nearest to one below 2^51 in size, half to even, as Python's `round` has it; rint for larger ones. */
    static CYTHON_UNUSED double pm_even(double value) {
        const double big = 6755399441055744.0;
        volatile double sum;
        if (!(fabs(value) < 2251799813685248.0)) return rint(value);
        sum = value + big;
        return sum - big;
    }

    /* As Python's `int` of a float that is finite and below 2^62. */
    static CYTHON_UNUSED double pm_trunc(double value) {
        return fabs(value) < 4e18 ? (double)(long long)value : trunc(value);
    }

    /* Round a scaled number that is not negative; 0 where its digits might hang on the rounding of the scaling. */
    static int pm_rounded(double scaled, unsigned long long *whole) {
        double rest;
        if (!(scaled < 1e9)) return 0;
        *whole = (unsigned long long)scaled;
        rest = scaled - (double)*whole;
        if (fabs(rest - 0.5) < 1e-6) return 0;
        *whole += rest > 0.5;
        return 1;
    }

    static int pm_spelt(char *to, double value, char kind, int precision) {
        char *text = PyOS_double_to_string(value, kind, precision, 0, NULL);
        int size;
        if (text == NULL) return -1;
        size = (int)strlen(text);
        if (size > PM_NUMBER) { PyMem_Free(text); PyErr_SetString(PyExc_OverflowError, "a number too long"); return -1; }
        memcpy(to, text, (size_t)size);
        PyMem_Free(text);
        return size;
    }

    /* ``%.1f``. */
    static int pm_fixed(char *to, double value) {
        unsigned long long whole;
        int size = 0;
        if (!pm_rounded(fabs(value) * 10.0, &whole)) return pm_spelt(to, value, 'f', 1);
        if (signbit(value)) to[size++] = '-';
        size += pm_decimals(to + size, whole / 10);
        to[size++] = '.';
        to[size++] = (char)('0' + whole % 10);
        return size;
    }

    /* ``%.<precision>g`` of one to six digits. */
    static int pm_general(char *to, double value, int precision) {
        double size_of = fabs(value);
        unsigned long long whole;
        char digits[24];
        int power = 0, size = 0, count;
        if (!(size_of >= 1e-9 && size_of < pm_tens[precision])) {
            if (value != 0.0 || signbit(value)) return pm_spelt(to, value, 'g', precision);
            to[0] = '0';
            return 1;
        }
        /* The power of ten of the first digit; off by one for what rounds up to the next, which is set right below. */
        if (size_of >= 1.0) while (size_of >= pm_tens[power + 1]) power++;
        else { power = -1; while (size_of * pm_tens[-power] < 1.0) power--; }
        if (!pm_rounded(size_of * pm_tens[precision - 1 - power], &whole)) return pm_spelt(to, value, 'g', precision);
        count = pm_decimals(digits, whole);
        if (count != precision) return pm_spelt(to, value, 'g', precision);
        while (count > 1 && digits[count - 1] == '0') count--;
        if (value < 0.0) to[size++] = '-';
        if (power < -4) {
            to[size++] = digits[0];
            if (count > 1) {
                to[size++] = '.';
                memcpy(to + size, digits + 1, (size_t)(count - 1));
                size += count - 1;
            }
            memcpy(to + size, "e-0", 3);
            size += 3;
            if (power == -10) to[size - 1] = '1';
            to[size++] = (char)('0' + -power % 10);
            return size;
        }
        if (power < 0) {
            to[size++] = '0';
            to[size++] = '.';
            for (int place = -1; place > power; place--) to[size++] = '0';
            memcpy(to + size, digits, (size_t)count);
            return size + count;
        }
        for (int place = 0; place <= power; place++) to[size++] = place < count ? digits[place] : '0';
        if (count > power + 1) {
            to[size++] = '.';
            memcpy(to + size, digits + power + 1, (size_t)(count - power - 1));
            size += count - power - 1;
        }
        return size;
    }

    static int pm_whole(char *to, long long value) {
        int size = 0;
        unsigned long long whole = (unsigned long long)value;
        if (value < 0) { to[size++] = '-'; whole = 0ULL - whole; }
        return size + pm_decimals(to + size, whole);
    }

    static CYTHON_UNUSED int pm_number(char *to, double value, char kind, int precision) {
        if (kind == 'g' && precision <= 6 && precision > 0) return pm_general(to, value, precision);
        if (kind == 'f' && precision == 1) return pm_fixed(to, value);
        return pm_spelt(to, value, kind, precision);
    }

    /* What an ASCII string holds; its UTF-8 for another, and `*ascii` cleared. NULL with an error. */
    static CYTHON_UNUSED const char *pm_letters(PyObject *text, Py_ssize_t *size, int *ascii) {
        if (PyUnicode_IS_COMPACT_ASCII(text)) {
            *size = PyUnicode_GET_LENGTH(text);
            return (const char *)PyUnicode_1BYTE_DATA(text);
        }
        *ascii = 0;
        return PyUnicode_AsUTF8AndSize(text, size);
    }

    static CYTHON_UNUSED PyObject *pm_string(const char *data, Py_ssize_t size, int ascii) {
        PyObject *made;
        if (!ascii || size == 0) return PyUnicode_FromStringAndSize(data, size);
        made = PyUnicode_New(size, 127);
        if (made != NULL) memcpy(PyUnicode_1BYTE_DATA(made), data, (size_t)size);
        return made;
    }
    """
    enum:
        PM_NUMBER
    int pm_number(char *to, double value, char kind, int precision) except -1
    double even_of "pm_even"(double value) noexcept nogil
    double towards_zero "pm_trunc"(double value) noexcept nogil
    int pm_whole(char *to, long long value)
    const char *pm_letters(object text, Py_ssize_t *size, int *ascii) except NULL
    object pm_string(const char *data, Py_ssize_t size, int ascii)
