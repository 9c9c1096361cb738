/*
 * A fake ESXi host, preloaded into the processes of a test: it replaces the guest library's own VmCheck_IsVirtualWorld and
 * RpcChannel_SendOne, and answers "guestlib.info.get VERSION" as the file FAKE_HOST describes. The file is read at every
 * request, and its one line is one of:
 *
 *     v3 SESSION ELAPSED STOLEN   statistics 1 to 20, as a host of protocol 3 sends them
 *     rate SESSION HUNDREDTHS [OFFSET]
 *                                 the same, by the clock: STOLEN is this many hundredths of a percent of ELAPSED, and
 *                                 OFFSET ms more
 *     old3 SESSION ELAPSED        protocol 3 without the statistic 19 (stolen) and those after it
 *     invalid3 SESSION ELAPSED    protocol 3 with the stolen time marked as not valid
 *     v2 SESSION ELAPSED          a host of protocol 2, which has no stolen time
 *     refuse | unknown | silent   rejects the request; does not know the command; gives no reply at all
 *     garbage                     a reply of protocol 3 that ends within the statistics
 *     novm                        no virtual machine
 *     hang | crash | exit         does not return, with all signals blocked; SIGSEGV; ends the process
 *     lie                         writes into every pipe of the process, then answers as "v3 1 1 1"
 */
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef char Bool;

static struct {
    char kind[16];
    unsigned long long session, elapsed, stolen;
} host;

static unsigned char buffer[4096];
static size_t filled;

static void read_host(void)
{
    const char *path = getenv("FAKE_HOST");
    FILE *file = path ? fopen(path, "re") : NULL;

    memset(&host, 0, sizeof host);
    if (!file || fscanf(file, "%15s %llu %llu %llu", host.kind, &host.session, &host.elapsed, &host.stolen) < 1)
        _exit(99);
    fclose(file);
}

static int is(const char *kind)
{
    return strcmp(host.kind, kind) == 0;
}

/* In the order of a little-endian machine, as every VMware host is. */
static void put_host_order(uint64_t number, size_t length)
{
    memcpy(buffer + filled, &number, length);
    filled += length;
}

static void put_xdr(uint64_t number, int bytes)
{
    while (bytes-- > 0)
        buffer[filled++] = number >> (8 * bytes);
}

/* Statistics whose value is 64 bits wide, of the first 20; 18 is a string and all others are 32 bits wide. */
static int is_wide(int id)
{
    return id == 4 || id == 17 || id == 19 || id == 20;
}

static void reply_version_3(int count, int stolen_valid)
{
    put_host_order(3, 4);
    put_host_order(host.session, 8);
    put_host_order(0, 4); /* the length, which the caller knows at the end */
    put_xdr(count, 4);
    for (int id = 1; id <= count; id++) {
        put_xdr(id, 4);
        put_xdr(id == 19 ? stolen_valid : 1, 4);
        if (id == 18) {
            put_xdr(8, 4);
            memcpy(buffer + filled, "/ha-root", 8);
            filled += 8;
        } else {
            put_xdr(id == 17 ? host.elapsed : id == 19 ? host.stolen : 1000 + (uint64_t)id, is_wide(id) ? 8 : 4);
        }
    }
}

static void reply_version_2(void)
{
    put_host_order(2, 4);
    put_host_order(host.session, 8);
    for (int id = 1; id <= 17; id++) {
        put_host_order(1, 4); /* a flag and three bytes of padding */
        put_host_order(id == 17 ? host.elapsed : 1000 + (uint64_t)id, is_wide(id) ? 8 : 4);
    }
    put_host_order(1, 1);
    memset(buffer + filled, 0, 512);
    filled += 512;
}

static void by_the_clock(void)
{
    struct timespec now;
    uint64_t hundredths = host.elapsed;

    clock_gettime(CLOCK_MONOTONIC, &now);
    host.elapsed = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    host.stolen += host.elapsed * hundredths / 10000;
}

static Bool answer(char **reply, size_t *length, Bool succeeded, const void *bytes, size_t size)
{
    *reply = malloc(size + 1);
    memcpy(*reply, bytes, size);
    (*reply)[size] = 0;
    *length = size;
    return succeeded;
}

static Bool refuse(char **reply, size_t *length, const char *words)
{
    return answer(reply, length, 0, words, strlen(words));
}

static void hang(void)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (;;)
        pause();
}

Bool VmCheck_IsVirtualWorld(void)
{
    read_host();
    return !is("novm");
}

Bool RpcChannel_SendOne(char **reply, size_t *length, const char *format, ...)
{
    char command[64];
    va_list arguments;
    int version = 0;

    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    read_host();
    filled = 0;
    *reply = NULL;
    *length = 0;
    if (sscanf(command, "guestlib.info.get %d", &version) != 1 || is("unknown"))
        return refuse(reply, length, "Unknown command");
    if (is("refuse"))
        return refuse(reply, length, "Disabled by configuration");
    if (is("silent"))
        return 0;
    if (is("hang"))
        hang();
    if (is("crash"))
        *(volatile int *)NULL = 1;
    if (is("exit"))
        exit(3);
    if (is("lie")) {
        for (int fd = 1; fd < 32; fd++)
            (void)!write(fd, "reading 1 2 3\n", 14);
        host.session = host.elapsed = host.stolen = 1;
    }
    if (is("rate"))
        by_the_clock();
    if (is("v2")) {
        if (version != 2)
            return refuse(reply, length, "Unsupported version");
        reply_version_2();
    } else {
        reply_version_3(is("old3") ? 18 : 20, !is("invalid3"));
        if (is("garbage"))
            filled = 30;
        memcpy(buffer + 12, &(uint32_t){filled - 16}, 4);
    }
    return answer(reply, length, 1, buffer, filled);
}
