// Hides what is newer than AVX2 from libraries that ask the processor themselves.
//
// Loaded with LD_AUDIT. HIDE_LIST names a file with lines "LIBRARY OFFSET": where the library, given
// by its file name, executes CPUID. Before the library's constructors run, each of these
// instructions becomes UD2, which is as long; the handler of the signal answers in its place.
#define _GNU_SOURCE
#include <cpuid.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { MOST_SITES = 4096, PAGE = 4096 };

static uintptr_t sites[MOST_SITES];
static int site_count;

static const uint32_t EBX_7_0 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 |
                                1u << 30 | 1u << 31;  // AVX512 F DQ IFMA PF ER CD BW VL
static const uint32_t ECX_7_0 = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;  // VBMI VNNI ...
static const uint32_t EDX_7_0 = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 |
                                1u << 25;  // 4VNNIW 4FMAPS VP2INTERSECT AMX FP16
static const uint32_t EAX_7_1 = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23;  // AVX-VNNI BF16 IFMA
static const uint32_t EDX_7_1 = 1u << 4 | 1u << 5 | 1u << 10 | 1u << 19;  // VNNI of int8, int16

static void answer(int signal, siginfo_t* info, void* context) {
  (void)info;
  greg_t* regs = ((ucontext_t*)context)->uc_mcontext.gregs;
  for (int i = 0; i < site_count; ++i) {
    if (sites[i] != (uintptr_t)regs[REG_RIP]) continue;
    uint32_t leaf = (uint32_t)regs[REG_RAX], part = (uint32_t)regs[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, part, a, b, c, d);
    if (leaf == 7 && part == 0) b &= ~EBX_7_0, c &= ~ECX_7_0, d &= ~EDX_7_0;
    if (leaf == 7 && part == 1) a &= ~EAX_7_1, d &= ~EDX_7_1;
    regs[REG_RAX] = a, regs[REG_RBX] = b, regs[REG_RCX] = c, regs[REG_RDX] = d;
    regs[REG_RIP] += 2;
    return;
  }
  struct sigaction usual = {.sa_handler = SIG_DFL};
  sigaction(signal, &usual, NULL);
}

static void replace(uintptr_t address) {
  unsigned char* code = (unsigned char*)address;
  if (site_count == MOST_SITES || code[0] != 0x0f || code[1] != 0xa2) {
    fprintf(stderr, "hide: %p is not CPUID; the list is of another file\n", (void*)code);
    abort();
  }
  void* page = (void*)(address & ~(uintptr_t)(PAGE - 1));
  mprotect(page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
  code[1] = 0x0b;
  mprotect(page, 2 * PAGE, PROT_READ | PROT_EXEC);
  sites[site_count++] = address;
}

unsigned la_version(unsigned version) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &action, NULL);
  return version;
}

unsigned la_objopen(struct link_map* map, Lmid_t space, uintptr_t* cookie) {
  (void)space, (void)cookie;
  const char* slash = strrchr(map->l_name, '/');
  const char* wanted = slash ? slash + 1 : map->l_name;
  FILE* list = fopen(getenv("HIDE_LIST"), "r");
  char name[512];
  unsigned long offset;
  while (list && fscanf(list, "%511s %lx", name, &offset) == 2)
    if (!strcmp(name, wanted)) replace(map->l_addr + offset);
  if (list) fclose(list);
  return 0;
}
