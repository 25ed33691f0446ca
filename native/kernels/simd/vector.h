// The widest integer vectors of the instruction set that the including file is compiled for.
#pragma once

#if defined(__aarch64__)
#include "../arm/vector.h"
#else
#include "../x86/vector.h"
#endif
