"""How synthetic faces come about: people are cast, sit for photos and are drawn, layer by layer.

Pixels are made with exactly rounded operations only (sums, products, quotients, roots): threads change no byte.
"""
