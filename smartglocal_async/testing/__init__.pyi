from .clock import Clock as Clock
from .deliveries import DeliverWebhook as DeliverWebhook
from .deliveries import SignedWebhook as SignedWebhook
from .emulator_admin import EmulatorAdmin as EmulatorAdmin
