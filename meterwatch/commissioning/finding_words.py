"""What a diagnosis can say, in both languages: what it is, the numbers it was seen by, what to do.

``{p}`` names the phases it is about, ``{c}`` what explains it, ``{pf}`` the phase whose numbers
are shown, ``{guess}`` what a factor probably is; the rest are the finding's own numbers.
"""

from __future__ import annotations

from typing import Final

from meterwatch.commissioning.findings import Kind

EN: Final[dict[Kind, tuple[str, str, str]]] = {
    Kind.PHASE_MISSING: (
        "Phase {p} is missing.",
        "{volts:.1f} V, others up to {others:.1f} V.",
        "Check fuse and terminal of this voltage lead, and whether the phase is live.",
    ),
    Kind.VOLTAGE_LEAD: (
        "The voltage lead of {p} is open: current flows, voltage is missing.",
        "{volts:.1f} V at {amps:.2f} A, others up to {others:.1f} V.",
        "Check fuse and terminal of this lead; its energy is not counted.",
    ),
    Kind.SINGLE_PHASE: (
        "Only one phase has a voltage, {p} have none.",
        "{volts:.1f} V.",
        "Right for a single-phase supply (say --single-phase); else check the fuses.",
    ),
    Kind.VOLTAGE_ODD: (
        "No grid has this voltage ({p}).",
        "{volts:.1f} V; a meter sees {low:g} to {high:g} V.",
        "Check voltage ratio, connection and device model.",
    ),
    Kind.VOLTAGES_UNLIKE: (
        "The voltages of {p} differ more than a grid's do.",
        "{low:.1f} V against {high:.1f} V.",
        "Check the neutral (loose, missing), fuses of voltage transformers.",
    ),
    Kind.NEUTRAL_CROSSED: (
        "Neutral and {p} are exchanged.",
        "{low:.1f} V against {high:.1f} V: a factor of 1.73.",
        "Exchange the two leads; until then the meter may be damaged by the higher voltage.",
    ),
    Kind.LINE_VOLTAGE: (
        "The meter sees voltages between phases, not to neutral.",
        "{low:.1f} to {high:.1f} V.",
        "Check the neutral; right only in a 690 V grid.",
    ),
    Kind.NO_VOLTAGE: (
        "No phase has a voltage.",
        "At most {volts:.2f} V.",
        "Check the fuses of the voltage leads and the device model.",
    ),
    Kind.FREQUENCY_IMPOSSIBLE: (
        "The frequency is impossible.",
        "{hertz:.2f} Hz, a grid has {low:g} to {high:g} Hz.",
        "Check device model and order of bytes.",
    ),
    Kind.FREQUENCY_ODD: (
        "The frequency is unusual.",
        "{hertz:.2f} Hz, the public grid keeps {low:g} to {high:g} Hz.",
        "Right only behind a generator of one's own.",
    ),
    Kind.NO_CURRENT: (
        "{p} carries no current while others do.",
        "{amps:.3f} A, others up to {others:.2f} A.",
        "Switch on a load there, or use a clamp meter: if current flows, the transformer is"
        " missing, shorted or open (an open one is dangerous).",
    ),
    Kind.NO_LOAD: (
        "Hardly any current flows: currents and wiring cannot be judged.",
        "At most {amps:.3f} A.",
        "Switch on a load on all phases, and repeat.",
    ),
    Kind.LOW_LOAD: (
        "The direction of {p} cannot be told.",
        "It carries less than {least:.2g} A, or its voltage is missing.",
        "Switch on a load there, and repeat.",
    ),
    Kind.POWER_SCALE: (
        "Power does not follow from voltage, current and power factor: a factor of {factor:.3g}"
        " lies between.",
        "{pf}: {power:.3f} kW, {volts:.1f} V x {amps:.2f} A x {cosine:.3f} = {reckoned:.3f} kW.",
        "{guess}",
    ),
    Kind.POWER_ELSEWHERE: (
        "Powers and currents are of different phases.",
        "{pf}: {power:.3f} kW, {volts:.1f} V x {amps:.2f} A x {cosine:.3f} = {reckoned:.3f} kW;"
        " the powers fit the currents of {p}, in this order.",
        "Check the device model.",
    ),
    Kind.POWER_UNLIKE: (
        "Power and U x I x power factor differ at {p}.",
        "{pf}: {power:.3f} kW, {volts:.1f} V x {amps:.2f} A x {cosine:.3f} = {reckoned:.3f} kW.",
        "Repeat with a steady load; then check the device model.",
    ),
    Kind.TOTAL_UNLIKE: (
        "The total power is not the sum of the phases.",
        "{total:.3f} kW against {added:.3f} kW.",
        "Check the device model; some meters add without the sign.",
    ),
    Kind.CONNECTED_WRONGLY: (
        "Power of {p} flows backwards: {c}.",
        "{angles}.",
        "If something feeds in there, this is right (say --feeds-in); else correct it and repeat.",
    ),
    Kind.BACKWARDS: (
        "Power of {p} flows backwards, and no single exchange explains the angles.",
        "{angles}.",
        "Check every current and voltage lead, with the load steady.",
    ),
    Kind.FEEDS_IN: (
        "{p} feeds in: whether its transformer is the right way round cannot be told.",
        "{powers}.",
        "Repeat with the generator off.",
    ),
    Kind.ODD_ANGLES: (
        "The angles are unusual: {c}; or capacitors run without a load.",
        "{angles}.",
        "Switch the capacitors off, and repeat.",
    ),
    Kind.CHANGING: (
        "The direction of {p} changed while it was watched: it cannot be judged.",
        "",
        "Repeat with a steady load.",
    ),
    Kind.THREE_WIRE: (
        "Directions are not judged in a three-wire connection.",
        "",
        "Compare power with another meter.",
    ),
    Kind.NO_POWERS: (
        "The meter tells no power of single phases: direction and phases cannot be judged.",
        "",
        "Load the phases one after another and compare.",
    ),
    Kind.RATIO_TWICE: (
        "The current ratio is applied twice.",
        "{amps:.1f} A / {ratio:g} = {secondary:.1f} A at the meter; transformers give 5 A at most.",
        "The meter knows its transformers and shows primary values: set current_ratio to 1.",
    ),
    Kind.VOLTAGE_RATIO_TWICE: (
        "The voltage ratio is applied twice, or the meter is connected directly.",
        "{volts:.0f} V / {ratio:g} = {secondary:.1f} V at the meter; transformers give about"
        " 100 V.",
        "Set voltage_ratio to 1.",
    ),
    Kind.RATIO_WRONG: (
        "The current of {p} differs from what the clamp meter shows.",
        "{amps:.2f} A against {clamp:.2f} A: a factor of {factor:.3g}, with a ratio of {ratio:g}.",
        "{guess}",
    ),
    Kind.RATIO_UNSEEN: (
        "Whether the current ratio of {ratio:g} is that of the transformers cannot be seen from the"
        " meter.",
        "",
        "Read their name plates, or give a clamp meter's value (--clamp L1=...).",
    ),
    Kind.COUNTER_BACK: (
        "A counter went back while it was watched.",
        "From {before:.10g} to {after:.10g} kWh.",
        "Check device model and order of bytes.",
    ),
    Kind.COUNTER_RATE: (
        "The counter does not follow the power.",
        "{counted:.3f} kWh counted, {brought:.3f} kWh by power: a factor of {factor:.3g}.",
        "{guess}",
    ),
    Kind.COUNTER_STILL: (
        "The counter moved too little to be compared with power.",
        "{steps:.0f} steps.",
        "Watch longer, or with more load.",
    ),
}

ZH: Final[dict[Kind, tuple[str, str, str]]] = {
    Kind.PHASE_MISSING: (
        "{p}缺相。",
        "{volts:.1f} V，其他相最高 {others:.1f} V。",
        "请检查该相电压线的熔断器和端子，并确认该相带电。",
    ),
    Kind.VOLTAGE_LEAD: (
        "{p}电压线断开：有电流而无电压。",
        "{volts:.1f} V，电流 {amps:.2f} A，其他相最高 {others:.1f} V。",
        "请检查该相电压线的熔断器和端子；该相电能未被计量。",
    ),
    Kind.SINGLE_PHASE: (
        "只有一相有电压，{p}无电压。",
        "{volts:.1f} V。",
        "单相供电时属正常（加 --single-phase）；否则请检查熔断器。",
    ),
    Kind.VOLTAGE_ODD: (
        "电网没有这样的电压（{p}）。",
        "{volts:.1f} V；表计端应在 {low:g} 至 {high:g} V。",
        "请检查电压变比、接线和设备型号。",
    ),
    Kind.VOLTAGES_UNLIKE: (
        "{p}电压相差过大。",
        "{low:.1f} V 与 {high:.1f} V。",
        "请检查零线（松动、断开）和电压互感器熔断器。",
    ),
    Kind.NEUTRAL_CROSSED: (
        "零线与{p}接反。",
        "{low:.1f} V 与 {high:.1f} V，相差 1.73 倍。",
        "请对调这两根线；在此之前表计可能因过电压损坏。",
    ),
    Kind.LINE_VOLTAGE: (
        "表计测到的是线电压，而不是相电压。",
        "{low:.1f} 至 {high:.1f} V。",
        "请检查零线；仅在 690 V 电网中属正常。",
    ),
    Kind.NO_VOLTAGE: (
        "三相均无电压。",
        "最高 {volts:.2f} V。",
        "请检查电压线熔断器和设备型号。",
    ),
    Kind.FREQUENCY_IMPOSSIBLE: (
        "频率不可能。",
        "{hertz:.2f} Hz，电网应在 {low:g} 至 {high:g} Hz。",
        "请检查设备型号和字节顺序。",
    ),
    Kind.FREQUENCY_ODD: (
        "频率异常。",
        "{hertz:.2f} Hz，公共电网在 {low:g} 至 {high:g} Hz。",
        "仅在自备发电机供电时属正常。",
    ),
    Kind.NO_CURRENT: (
        "{p}无电流，而其他相有电流。",
        "{amps:.3f} A，其他相最高 {others:.2f} A。",
        "请在该相投入负荷，或用钳形表测量：若有电流，则互感器未接、短接或开路（开路有危险）。",
    ),
    Kind.NO_LOAD: (
        "几乎没有电流：无法判断电流和接线。",
        "最大 {amps:.3f} A。",
        "请三相投入负荷后重测。",
    ),
    Kind.LOW_LOAD: (
        "无法判断{p}的电流方向。",
        "电流低于 {least:.2g} A，或缺少电压。",
        "请在该相投入负荷后重测。",
    ),
    Kind.POWER_SCALE: (
        "功率与电压、电流、功率因数不符，相差 {factor:.3g} 倍。",
        "{pf}：{power:.3f} kW，{volts:.1f} V×{amps:.2f} A×{cosine:.3f} = {reckoned:.3f} kW。",
        "{guess}",
    ),
    Kind.POWER_ELSEWHERE: (
        "功率与电流不属于同一相。",
        "{pf}：{power:.3f} kW，{volts:.1f} V×{amps:.2f} A×{cosine:.3f} = {reckoned:.3f} kW；"
        "各相功率依次与{p}的电流相符。",
        "请检查设备型号。",
    ),
    Kind.POWER_UNLIKE: (
        "{p}功率与 U×I×功率因数不符。",
        "{pf}：{power:.3f} kW，{volts:.1f} V×{amps:.2f} A×{cosine:.3f} = {reckoned:.3f} kW。",
        "请在负荷平稳时重测；仍不符时检查设备型号。",
    ),
    Kind.TOTAL_UNLIKE: (
        "总功率不等于各相之和。",
        "{total:.3f} kW 与 {added:.3f} kW。",
        "请检查设备型号；有的表计按绝对值相加。",
    ),
    Kind.CONNECTED_WRONGLY: (
        "{p}功率反向：{c}。",
        "{angles}。",
        "若该相有电源上网，则属正常（加 --feeds-in）；否则请改正后重测。",
    ),
    Kind.BACKWARDS: (
        "{p}功率反向，且任何一种错接都无法解释各相角度。",
        "{angles}。",
        "请在负荷平稳时逐根检查电流线和电压线。",
    ),
    Kind.FEEDS_IN: (
        "{p}正在上网：无法判断互感器方向是否正确。",
        "{powers}。",
        "请停下发电设备后重测。",
    ),
    Kind.ODD_ANGLES: (
        "各相角度异常：{c}；或仅有电容器在运行。",
        "{angles}。",
        "请切除电容器后重测。",
    ),
    Kind.CHANGING: (
        "{p}功率方向在观察期间变化，无法判断。",
        "",
        "请在负荷平稳时重测。",
    ),
    Kind.THREE_WIRE: ("三相三线接线不判断电流方向。", "", "请与另一块表核对功率。"),
    Kind.NO_POWERS: (
        "表计不提供分相功率：无法判断方向和相别。",
        "",
        "请逐相投入负荷进行核对。",
    ),
    Kind.RATIO_TWICE: (
        "电流变比重复计算。",
        "{amps:.1f} A / {ratio:g} = 表计端 {secondary:.1f} A；互感器二次额定最大 5 A。",
        "表计内已设变比，显示一次值：请将 current_ratio 设为 1。",
    ),
    Kind.VOLTAGE_RATIO_TWICE: (
        "电压变比重复计算，或表计为直接接入。",
        "{volts:.0f} V / {ratio:g} = 表计端 {secondary:.1f} V；互感器二次约 100 V。",
        "请将 voltage_ratio 设为 1。",
    ),
    Kind.RATIO_WRONG: (
        "{p}电流与钳形表不符。",
        "{amps:.2f} A 与 {clamp:.2f} A，相差 {factor:.3g} 倍，变比设为 {ratio:g}。",
        "{guess}",
    ),
    Kind.RATIO_UNSEEN: (
        "电流变比 {ratio:g} 是否与互感器一致，从表计数据无法看出。",
        "",
        "请核对互感器铭牌，或提供钳形表读数（--clamp L1=…）。",
    ),
    Kind.COUNTER_BACK: (
        "观察期间电能读数倒退。",
        "由 {before:.10g} 变为 {after:.10g} kWh。",
        "请检查设备型号和字节顺序。",
    ),
    Kind.COUNTER_RATE: (
        "电能增量与功率不符。",
        "计得 {counted:.3f} kWh，按功率应为 {brought:.3f} kWh，相差 {factor:.3g} 倍。",
        "{guess}",
    ),
    Kind.COUNTER_STILL: (
        "电能变化太小，无法与功率核对。",
        "变化 {steps:.0f} 次。",
        "请延长观察时间或加大负荷。",
    ),
}
