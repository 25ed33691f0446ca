// The widest integer vectors of the instruction set that the including file is compiled for.
#pragma once

#if defined(__AVX512F__)
#include "vector512.h"
#else
#include "vector256.h"
#endif

#include "wide.h"
