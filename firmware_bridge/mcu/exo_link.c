#include "exo_link.h"

#include <string.h>

static const uint32_t crc_table[16] = EXO_CRC_TABLE;

static uint32_t crc32(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t at = 0; at < size; at++) {
        crc = crc >> 4 ^ crc_table[(crc ^ data[at]) & 0xF];
        crc = crc >> 4 ^ crc_table[(crc ^ data[at] >> 4) & 0xF];
    }
    return ~crc;
}

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static uint32_t get32(const uint8_t *at) { return get16(at) | (uint32_t)get16(at + 2) << 16; }

static float get_float(const uint8_t *at)
{
    const uint32_t bits = get32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)value);
    put16(at + 2, (uint16_t)(value >> 16));
}

static void put_float(uint8_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put32(at, bits);
}

/* An exponent of all ones is an infinity or no number. */
static int is_finite(const uint8_t *at) { return (get32(at) & 0x7F800000u) != 0x7F800000u; }

/* COBS in place: a code byte says how far the next zero is. The plain size; 0 for what is none. */
static size_t unstuff(uint8_t *data, size_t size)
{
    size_t from = 0, to = 0;
    while (from < size) {
        const uint8_t code = data[from];
        if (code == 0 || from + code > size)
            return 0;
        for (uint8_t at = 1; at < code; at++)
            data[to++] = data[from + at];
        from += code;
        if (code != 255 && from < size)
            data[to++] = 0;
    }
    return to;
}

static size_t stuff(const uint8_t *data, size_t size, uint8_t *out)
{
    size_t code_at = 0, to = 1;
    uint8_t code = 1;
    for (size_t at = 0; at < size; at++) {
        if (data[at] != 0) {
            out[to++] = data[at];
            code++;
        }
        if (data[at] == 0 || code == 255) {
            out[code_at] = code;
            code_at = to++;
            code = 1;
        }
    }
    out[code_at] = code;
    out[to++] = 0;
    return to;
}

static void damp(exo_link *link)
{
    link->mode = EXO_MODE_DAMPED;
    memset(link->targets, 0, sizeof link->targets);
}

void exo_link_init(exo_link *link, uint8_t motors, const char *firmware)
{
    memset(link, 0, sizeof *link);
    link->count = motors < EXO_MOST_MOTORS ? motors : (uint8_t)EXO_MOST_MOTORS;
    link->watchdog_ms = EXO_USUAL_WATCHDOG_MS;
    link->damping = EXO_DAMPING;
    for (size_t at = 0; at < sizeof link->firmware && firmware[at] != '\0'; at++)
        link->firmware[at] = firmware[at];
}

/* A host says hello: its frames count from now on, and nothing moves before it enables. */
static void greet(exo_link *link, const uint8_t *head, const uint8_t *body)
{
    const uint16_t wanted_ms = get16(body + EXO_HELLO_WATCHDOG_MS);
    link->session = get16(head + EXO_HEADER_SESSION);
    link->answered = get16(head + EXO_HEADER_SEQUENCE);
    link->has_session = 1;
    if (wanted_ms != 0) {
        link->watchdog_ms = wanted_ms < EXO_LEAST_WATCHDOG_MS ? (uint16_t)EXO_LEAST_WATCHDOG_MS
                          : wanted_ms > EXO_MOST_WATCHDOG_MS ? (uint16_t)EXO_MOST_WATCHDOG_MS : wanted_ms;
    }
    if (link->mode == EXO_MODE_DRIVEN)
        damp(link);
    link->due = EXO_KIND_HELLO;
}

/* Targets of a COMMAND; 0 when a number is not finite. */
static int take_targets(exo_link *link, const uint8_t *body)
{
    for (size_t at = 0; at < 5u * link->count; at++)
        if (!is_finite(body + 4 * at))
            return 0;
    for (uint8_t motor = 0; motor < link->count; motor++, body += EXO_TARGET_BYTES) {
        const exo_target target = {get_float(body), get_float(body + 4), get_float(body + 8), get_float(body + 12),
                                   get_float(body + 16)};
        link->targets[motor] = target;
    }
    return 1;
}

/* A frame of this session that is newer than the last; 0 when it is not to be answered. */
static int obey(exo_link *link, uint8_t kind, const uint8_t *body, size_t size, uint32_t now_us)
{
    switch (kind) {
    case EXO_KIND_COMMAND:
        if (size != (size_t)EXO_TARGET_BYTES * link->count)
            return 0;
        if (link->mode == EXO_MODE_DRIVEN && !take_targets(link, body))
            return 0;
        break;
    case EXO_KIND_ENABLE:
        if (size != 0)
            return 0;
        if (!link->stop) {
            memset(link->targets, 0, sizeof link->targets);
            link->mode = EXO_MODE_DRIVEN;
            link->heartbeat_lost = 0;
        }
        break;
    case EXO_KIND_DISABLE:
        if (size != 0)
            return 0;
        link->mode = EXO_MODE_LIMP;
        break;
    default:
        return 0;
    }
    link->heard_us = now_us;
    return 1;
}

static void take_frame(exo_link *link, const uint8_t *plain, size_t size, uint32_t now_us)
{
    const uint8_t kind = plain[EXO_HEADER_KIND], *body = plain + EXO_HEADER_BYTES;
    const uint16_t session = get16(plain + EXO_HEADER_SESSION), sequence = get16(plain + EXO_HEADER_SEQUENCE);
    const size_t body_size = size - EXO_HEADER_BYTES - EXO_CRC_BYTES;
    const int is_ours = plain[EXO_HEADER_VERSION] == EXO_VERSION;
    const int is_newer = (uint16_t)(sequence - link->answered - 1u) < 0x8000u;

    if (kind == EXO_KIND_HELLO && body_size == EXO_HELLO_BYTES) {
        greet(link, plain, body); /* of any version: the answer tells ours */
    } else if (kind == EXO_KIND_DAMP && is_ours) {
        damp(link); /* from anybody, at any time */
        if (link->has_session && session == link->session && is_newer)
            link->answered = sequence;
        link->due = EXO_KIND_STATE;
    } else if (is_ours && link->has_session && session == link->session && is_newer
               && (kind == EXO_KIND_ENABLE || kind == EXO_KIND_DISABLE || plain[EXO_HEADER_COUNT] == link->count)
               && obey(link, kind, body, body_size, now_us)) {
        link->answered = sequence;
        link->due = EXO_KIND_STATE;
    } else {
        link->ignored++;
    }
}

int exo_link_feed(exo_link *link, uint8_t byte, uint32_t now_us)
{
    if (byte != 0) {
        if (link->in_size < EXO_MOST_FRAME)
            link->in[link->in_size++] = byte;
        else
            link->in_size = EXO_MOST_FRAME + 1; /* nobody's: wait for the next zero */
        return link->due != 0;
    }
    if (link->in_size > 0) {
        const size_t size = link->in_size <= EXO_MOST_FRAME ? unstuff(link->in, link->in_size) : 0;
        if (size >= EXO_HEADER_BYTES + EXO_CRC_BYTES
            && crc32(link->in, size - EXO_CRC_BYTES) == get32(link->in + size - EXO_CRC_BYTES))
            take_frame(link, link->in, size, now_us);
        else
            link->bad++;
        link->in_size = 0;
    }
    return link->due != 0;
}

void exo_link_tick(exo_link *link, uint32_t now_us)
{
    if (link->mode == EXO_MODE_DRIVEN && now_us - link->heard_us > 1000u * link->watchdog_ms) {
        damp(link);
        link->heartbeat_lost = 1;
    }
    if (link->mode == EXO_MODE_DRIVEN && link->stop)
        damp(link);
}

exo_target exo_link_target(const exo_link *link, uint8_t motor)
{
    exo_target target = {0, 0, 0, 0, 0};
    if (link->mode == EXO_MODE_DRIVEN && motor < link->count)
        return link->targets[motor];
    if (link->mode == EXO_MODE_DAMPED)
        target.kd = link->damping;
    return target;
}

static uint8_t *put_state(const exo_link *link, uint8_t *at)
{
    const uint16_t own = (uint16_t)((link->stop ? EXO_FAULT_STOP_LINE : 0)
                                    | (link->heartbeat_lost ? EXO_FAULT_HEARTBEAT : 0));
    for (uint8_t motor = 0; motor < link->count; motor++, at += EXO_MOTOR_BYTES) {
        const exo_motor *one = &link->motors[motor];
        put_float(at + EXO_MOTOR_Q, one->q);
        put_float(at + EXO_MOTOR_DQ, one->dq);
        put_float(at + EXO_MOTOR_TAU, one->tau);
        put16(at + EXO_MOTOR_TEMPERATURE_C, (uint16_t)one->temperature_c);
        put16(at + EXO_MOTOR_FAULTS, one->faults | own);
    }
    for (size_t i = 0; i < 4; i++)
        put_float(at + EXO_TAIL_QUAT_WXYZ + 4 * i, link->imu.quat_wxyz[i]);
    for (size_t i = 0; i < 3; i++) {
        put_float(at + EXO_TAIL_GYRO + 4 * i, link->imu.gyro[i]);
        put_float(at + EXO_TAIL_ACCEL + 4 * i, link->imu.accel[i]);
    }
    put_float(at + EXO_TAIL_BATTERY_PERCENT, link->battery_percent);
    at[EXO_TAIL_STOP] = link->stop;
    at[EXO_TAIL_MODE] = link->mode;
    put16(at + EXO_TAIL_ANSWERED, link->answered);
    return at + EXO_TAIL_BYTES;
}

static uint8_t *put_hello(const exo_link *link, uint8_t *at)
{
    at[EXO_HELLO_VERSION] = EXO_VERSION;
    at[EXO_HELLO_MOTORS] = link->count;
    put16(at + EXO_HELLO_WATCHDOG_MS, link->watchdog_ms);
    memcpy(at + EXO_HELLO_FIRMWARE, link->firmware, sizeof link->firmware);
    return at + EXO_HELLO_BYTES;
}

size_t exo_link_answer(exo_link *link, uint32_t now_us, uint8_t *out)
{
    static uint8_t plain[EXO_MOST_PLAIN]; /* not on a small stack; one link answers at a time */
    uint8_t *end = plain + EXO_HEADER_BYTES;
    if (link->due == 0)
        return 0;
    plain[EXO_HEADER_VERSION] = EXO_VERSION;
    plain[EXO_HEADER_KIND] = link->due;
    put16(plain + EXO_HEADER_SESSION, link->session);
    put16(plain + EXO_HEADER_SEQUENCE, ++link->sequence);
    put32(plain + EXO_HEADER_TIME_US, now_us);
    plain[EXO_HEADER_COUNT] = link->count;
    end = link->due == EXO_KIND_HELLO ? put_hello(link, end) : put_state(link, end);
    link->due = 0;
    put32(end, crc32(plain, (size_t)(end - plain)));
    return stuff(plain, (size_t)(end - plain) + EXO_CRC_BYTES, out);
}
