/* The firmware's end of the link between a host and a microcontroller with motors: frames, session, heartbeat.
 *
 * Portable C99: no allocation, no recursion, no operating system, no assumption of byte order. The board calls
 *   exo_link_feed    for each byte that arrives,
 *   exo_link_answer  when that says an answer is due, and sends what it gives,
 *   exo_link_tick    a thousand times a second or more, whatever the host does,
 *   exo_link_target  for each motor in each step of its own motor loop,
 * and keeps `motors`, `imu`, `battery_percent` and `stop` up to date, all from one context (not half in an interrupt).
 * docs/mcu_link.md describes the wire.
 *
 * A host that falls silent, a pressed stop line, a new host: the motors are damped, and stay so until they are enabled
 * again. What is damped or limp ignores every target.
 */
#ifndef EXO_LINK_H
#define EXO_LINK_H

#include <stddef.h>
#include <stdint.h>

#include "exo_link_constants.h"

typedef struct {
    float q, dq, tau, kp, kd; /* rad, rad/s, N m, N m/rad, N m s/rad */
} exo_target;

typedef struct {
    float q, dq, tau;      /* rad, rad/s, N m */
    int16_t temperature_c; /* of the hottest sensor */
    uint16_t faults;       /* EXO_FAULT_..., 0 is healthy; STOP_LINE and HEARTBEAT are the link's own */
} exo_motor;

typedef struct {
    float quat_wxyz[4]; /* world (z up) from IMU; all zero: there is no IMU */
    float gyro[3];      /* rad/s, IMU's axes */
    float accel[3];     /* m/s^2, specific force, IMU's axes */
} exo_imu;

typedef struct {
    /* The board's: */
    exo_motor motors[EXO_MOST_MOTORS];
    exo_imu imu;
    float battery_percent; /* NaN where nobody knows */
    float damping;         /* N m s/rad while damped */
    uint8_t stop;          /* 1: the stop line is pressed, or its wire is broken */

    /* To be read: */
    uint8_t mode;          /* EXO_MODE_... */
    uint8_t heartbeat_lost; /* it damped by itself, since the last ENABLE */
    uint32_t bad;          /* pieces between two zeros that were no frame */
    uint32_t ignored;      /* frames of another version, session, size, or not newer than the last */
    uint16_t watchdog_ms;

    /* Its own: */
    uint8_t count, due, has_session;
    uint16_t session, answered, sequence;
    uint32_t heard_us;
    char firmware[EXO_HELLO_BYTES - EXO_HELLO_FIRMWARE];
    exo_target targets[EXO_MOST_MOTORS];
    uint8_t in[EXO_MOST_FRAME];
    size_t in_size; /* EXO_MOST_FRAME + 1: too long, until the next zero */
} exo_link;

/* Makes it limp. `motors` at most EXO_MOST_MOTORS; `firmware`: its name, at most 16 characters count. */
void exo_link_init(exo_link *link, uint8_t motors, const char *firmware);

/* Takes one byte; 1 when an answer is due. */
int exo_link_feed(exo_link *link, uint8_t byte, uint32_t now_us);

/* The answer that is due as bytes to send, at most EXO_MOST_FRAME; 0 when none is. */
size_t exo_link_answer(exo_link *link, uint32_t now_us, uint8_t *out);

/* Looks at the heartbeat and at the stop line. */
void exo_link_tick(exo_link *link, uint32_t now_us);

/* What a motor is to do now: its target, damping alone, or nothing. */
exo_target exo_link_target(const exo_link *link, uint8_t motor);

#endif
