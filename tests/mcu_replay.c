/* The C far end of our link, driven line by line: for tests that compare it with the Python one.
 *
 * `t US` sets the clock and ticks; `r HEX` feeds bytes and prints each answer as `a HEX`; `s 0|1` the stop line;
 * `m I Q DQ TAU TEMPERATURE FAULTS` a motor's state; `q` prints `q MODE WATCHDOG BAD IGNORED`, then `g I Q DQ TAU KP KD`
 * for each motor.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exo_link.h"

static exo_link link;
static unsigned long now;

static void feed(const char *hex)
{
    uint8_t out[EXO_MOST_FRAME];
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        if (!exo_link_feed(&link, (uint8_t)byte, (uint32_t)now))
            continue;
        const size_t size = exo_link_answer(&link, (uint32_t)now, out);
        fputs("a ", stdout);
        for (size_t at = 0; at < size; at++)
            printf("%02x", out[at]);
        putchar('\n');
    }
}

int main(int count, char **arguments)
{
    static char line[65536];
    exo_link_init(&link, (uint8_t)atoi(count > 1 ? arguments[1] : "1"), "exo-replay");
    link.battery_percent = NAN;
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned at, value, faults;
        int temperature;
        float q, dq, tau;
        if (sscanf(line, "t %lu", &now) == 1)
            exo_link_tick(&link, (uint32_t)now);
        else if (strncmp(line, "r ", 2) == 0)
            feed(line + 2);
        else if (sscanf(line, "s %u", &value) == 1)
            link.stop = (uint8_t)value;
        else if (sscanf(line, "m %u %f %f %f %d %u", &at, &q, &dq, &tau, &temperature, &faults) == 6) {
            const exo_motor motor = {q, dq, tau, (int16_t)temperature, (uint16_t)faults};
            link.motors[at] = motor;
        } else if (line[0] == 'q') {
            printf("q %u %u %lu %lu\n", link.mode, link.watchdog_ms, (unsigned long)link.bad,
                   (unsigned long)link.ignored);
            for (uint8_t motor = 0; motor < link.count; motor++) {
                const exo_target target = exo_link_target(&link, motor);
                printf("g %u %.9g %.9g %.9g %.9g %.9g\n", motor, (double)target.q, (double)target.dq,
                       (double)target.tau, (double)target.kp, (double)target.kd);
            }
        }
        fflush(stdout);
    }
    return 0;
}
